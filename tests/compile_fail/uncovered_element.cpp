// expect: T = secret|codec<secret>
#include <bulkhead/bulkhead.hpp>

#include <list>

class secret {
public:
    explicit secret(std::string text) : text_(std::move(text)) {}

private:
    std::string text_;
};

void take(const std::list<secret>&) {}

void refused(bulkhead::process_pool& pool) { (void)pool.submit(take, std::list<secret>{}); }
