// without_init pool|process|uncaught LOG: a program that forgot bulkhead::init. Prints the error.
#include <bulkhead/bulkhead.hpp>

#include <cstdio>
#include <string>

namespace {

int square(int x) { return x * x; }

void make(const std::string& what) {
    if (what == "process") {
        bulkhead::process one(square, 3);
        one.join();
    } else {
        bulkhead::process_pool pool(2);
        (void)pool.submit(square, 3).get();
    }
}

}  // namespace

int main(int argc, char** argv) {
    if (argc < 3) return 2;
    // Counts how often main() runs.
    if (std::FILE* log = std::fopen(argv[2], "a")) {
        std::fputs("main\n", log);
        std::fclose(log);
    }
    if (std::string(argv[1]) == "uncaught") make("pool");
    try {
        make(argv[1]);
    } catch (const bulkhead::usage_error& e) {
        std::printf("%s\n", e.what());
        return 3;
    }
    return 0;
}
