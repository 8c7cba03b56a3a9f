// stock_queue_owner make|fill|drop|kill NAME: a boost message_queue of 8 messages of 64 bytes, as some other
// program has it. `kill` dies inside the queue's lock.
#include <boost/interprocess/ipc/message_queue.hpp>

#include <cstdio>
#include <string>
#include <sys/mman.h>

namespace {

namespace ipc = boost::interprocess;

constexpr std::size_t count = 8;
constexpr std::size_t bytes = 64;

/// What the queue copies a message from, at which the process dies.
void die_inside(const char* name) {
    ipc::message_queue queue(ipc::open_only, name);
    const void* unreadable = ::mmap(nullptr, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    (void)queue.try_send(unreadable, bytes, 0);
}

}  // namespace

int main(int argc, char** argv) {
    if (argc != 3) return 2;
    const std::string what = argv[1];
    const char* const name = argv[2];
    if (what == "make") {
        ipc::message_queue(ipc::create_only, name, count, bytes, ipc::permissions(0600));
    } else if (what == "fill") {
        ipc::message_queue queue(ipc::open_only, name);
        for (std::size_t i = 0; i != count; ++i) queue.send("x\n", 2, 0);
    } else if (what == "kill") {
        die_inside(name);
    } else {
        return ipc::message_queue::remove(name) ? 0 : 1;
    }
    return 0;
}
