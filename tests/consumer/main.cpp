#include <bulkhead/bulkhead.hpp>
#include <iostream>

int square(int x) { return x * x; }

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool(2);
    std::cout << pool.submit(square, 7).get() << '\n';
}
