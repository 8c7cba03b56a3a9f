// expect: must be default constructible
#include <bulkhead/asio.hpp>

struct no_default {
    explicit no_default(int from) : x(from) {}
    int x;
};
no_default make(int x) { return no_default(x); }

void use(bulkhead::process_pool& pool) {
    pool.async_submit(make, 7, [](std::exception_ptr, no_default) {});
}
