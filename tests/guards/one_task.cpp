// What it costs to include Bulkhead: timed by tests/guards/run.
#include <bulkhead/bulkhead.hpp>

int square(int x) { return x * x; }

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool(2);
    return pool.submit(square, 7).get();
}
