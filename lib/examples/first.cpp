#include <bulkhead/bulkhead.hpp>
#include <iostream>

int decode(int frame) {
    if (frame == 2) *static_cast<volatile int*>(nullptr) = 1;  // a bug in somebody's library
    return frame * 100;
}

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);  // first: worker processes are this same program
    bulkhead::process_pool pool(3);
    std::vector<bulkhead::future<int>> frames;
    for (int i = 0; i < 4; ++i) frames.push_back(pool.submit(decode, i));
    for (auto& frame : frames) try {
            std::cout << frame.get() << '\n';
        } catch (const bulkhead::worker_crashed& crash) {
            std::cout << crash.what() << '\n';
        }
}
