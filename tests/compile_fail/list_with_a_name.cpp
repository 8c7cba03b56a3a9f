// expect: aggregate has a base class, whose fields cannot be told
#include <bulkhead/bulkhead.hpp>

struct named_list : std::vector<int> {
    std::string name;
};

int size(const named_list& of) { return static_cast<int>(of.size()); }

void refused(bulkhead::process_pool& pool) { (void)pool.submit(size, named_list{{1, 2}, "n"}); }
