// expect: specialise bulkhead::codec<T>
#include <bulkhead/bulkhead.hpp>

class secret {
public:
    explicit secret(std::string text) : text_(std::move(text)) {}

private:
    std::string text_;
};

void take(const secret&) {}

void refused(bulkhead::process_pool& pool) { (void)pool.submit(take, secret("s")); }
