// hidden_user NAME: has a queue of that name, and may not be looked into; whether a process of the same user
// removes the name nevertheless. Exit code 0: it does not, and says that it cannot see who uses the queue.
#include <bulkhead/bulkhead.hpp>
#include <bulkhead/detail/catalog.hpp>

#include <algorithm>
#include <string>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

namespace {

using namespace bulkhead::detail;

constexpr uid_t ordinary_user = 54'322;  // root may look into everything

/// While it is used, and after.
bool is_left_alone(const std::string& name, bool used) {
    const auto all = list_objects();
    const auto found = std::ranges::find(all, name, &object_report::name);
    if (found == all.end() || !found->attached.empty()) return false;
    const auto wanted = used ? removal::in_use : removal::removed;
    return found->users_known != used && remove_unused_object(*found) == wanted;
}

}  // namespace

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    if (argc != 2) return 2;
    if (::geteuid() == 0 && (::setgid(ordinary_user) != 0 || ::setuid(ordinary_user) != 0)) {
        return 2;
    }
    int ready[2];
    int over[2];
    if (::pipe(ready) != 0 || ::pipe(over) != 0) return 2;
    const std::string name = argv[1];
    const pid_t holder = ::fork();
    if (holder == 0) {
        const auto queue = bulkhead::queue<int>::create(name);
        ::prctl(PR_SET_DUMPABLE, 0);
        char byte = 0;
        const bool told = ::write(ready[1], &byte, 1) == 1 && ::read(over[0], &byte, 1) == 1;
        ::_exit(told ? 0 : 1);
    }
    char byte = 0;
    if (::read(ready[0], &byte, 1) != 1) return 1;
    const bool left = is_left_alone(name, true);
    int status = 0;
    if (::write(over[1], &byte, 1) != 1 || ::waitpid(holder, &status, 0) != holder) return 1;
    return left && status == 0 && is_left_alone(name, false) ? 0 : 1;
}
