// expect-success
#include <bulkhead/bulkhead.hpp>

int square(int x) { return x * x; }

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool(1);
    return pool.submit(square, 7).get() == 49 ? 0 : 1;
}
