// expect: include <bulkhead/asio.hpp>
#include <bulkhead/bulkhead.hpp>

#include <future>

int square(int x) { return x * x; }

void use(bulkhead::process_pool& pool) {
    pool.async_submit(square, 7, [](std::exception_ptr, int) {});
}
