// expect: on_done takes a callback of
#include <bulkhead/bulkhead.hpp>

void refused(bulkhead::future<int>& f) {
    f.on_done([](std::string) {});
}
