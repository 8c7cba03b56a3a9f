// Puts itself into a memory cgroup of its own and has a task ask for more than there is. Prints the cause
// and the sentence. Exit code 77: no such group can be made here.
#include <bulkhead/bulkhead.hpp>

#include <cstdio>
#include <filesystem>
#include <fstream>
#include <string>
#include <unistd.h>
#include <vector>

namespace {

namespace fs = std::filesystem;

constexpr std::size_t limit_bytes = std::size_t{96} << 20;

bool write(const fs::path& file, const std::string& text) {
    std::ofstream out(file);
    out << text;
    out.flush();
    return out.good();
}

/// A directory in the hierarchy of cgroup v1 or v2.
class memory_group {
public:
    memory_group() {
        const std::string name = "bulkhead-test-" + std::to_string(::getpid());
        for (const auto& [root, limit] :
             {std::pair("/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
              std::pair("/sys/fs/cgroup", "memory.max")}) {
            std::error_code failure;
            const fs::path place = fs::path(root) / name;
            if (!fs::create_directory(place, failure)) continue;
            path_ = place;
            if (write(place / limit, std::to_string(limit_bytes)) &&
                write(place / "cgroup.procs", std::to_string(::getpid()))) {
                root_ = root;
                return;
            }
            fs::remove(place, failure);
            path_.clear();
        }
    }
    ~memory_group() {
        if (path_.empty()) return;
        write(root_ / "cgroup.procs", std::to_string(::getpid()));
        std::error_code ignored;
        for (int i = 0; i != 1000 && !fs::remove(path_, ignored); ++i) ::usleep(1000);
    }
    memory_group(const memory_group&) = delete;
    memory_group& operator=(const memory_group&) = delete;

    [[nodiscard]] bool made() const { return !path_.empty(); }

private:
    fs::path path_;
    fs::path root_;
};

std::size_t eat() {
    std::vector<char> all(4 * limit_bytes);
    for (std::size_t i = 0; i < all.size(); i += 4096) all[i] = 1;
    return all.size();
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    const memory_group group;
    if (!group.made()) return 77;
    bulkhead::process_pool pool(1);
    try {
        std::printf("%zu bytes were there\n", pool.submit(eat).get());
        return 1;
    } catch (const bulkhead::worker_crashed& e) {
        std::printf("%s: %s\n", std::string(to_string(e.cause())).c_str(), e.what());
    }
    return pool.submit([] { return 3; }).get() == 3 ? 0 : 1;
}
