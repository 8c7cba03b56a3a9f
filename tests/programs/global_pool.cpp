// global_pool caught|uncaught|worker LOG: makes a pool in a global constructor. With `worker` only
// in the processes that the library starts.
#include <bulkhead/bulkhead.hpp>

#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <string>

namespace {

std::string environment(const char* name) {
    const char* value = std::getenv(name);
    return value != nullptr ? value : "";
}

struct global {
    global() {
        const std::string mode = environment("GLOBAL_POOL_MODE");
        if (std::FILE* log = std::fopen(environment("GLOBAL_POOL_LOG").c_str(), "a")) {
            std::fputs("start\n", log);
            std::fclose(log);
        }
        if (mode == "worker" && environment("GLOBAL_POOL_PARENT") != "done") {
            ::setenv("GLOBAL_POOL_PARENT", "done", 1);  // main's own start
            return;
        }
        if (mode == "uncaught" || mode == "worker")
            pool = std::make_unique<bulkhead::process_pool>(2);
        if (mode != "caught") return;
        try {
            pool = std::make_unique<bulkhead::process_pool>(2);
        } catch (const bulkhead::usage_error& e) {
            error = e.what();
        }
    }
    std::unique_ptr<bulkhead::process_pool> pool;
    std::string error;
};

const global made_before_main;

int square(int x) { return x * x; }

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (!made_before_main.error.empty()) {
        std::printf("%s\n", made_before_main.error.c_str());
        return 3;
    }
    try {
        bulkhead::process_pool pool(1);
        std::printf("%d\n", pool.submit(square, 7).get());
    } catch (const bulkhead::pool_broken& e) {
        std::printf("%s\n", e.what());
        return 4;
    }
    return 0;
}
