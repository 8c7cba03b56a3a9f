// Workers that write garbage into all that they share with their parent.
#include "os/fd_channel.hpp"
#include "ring/shared_object.hpp"
#include "support/compartment.hpp"
#include "support/scene.hpp"

#include <array>
#include <cstring>
#include <fcntl.h>
#include <netinet/in.h>
#include <random>
#include <ranges>
#include <sstream>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

// A sanitizer's, where there is one.
extern "C" [[gnu::weak]] void __sanitizer_set_report_path(const char* path);

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;
using bulkhead::worker_crashed;
using bulkhead::channel::compartment_bytes;
using bulkhead::channel::control_block;
using bulkhead::channel::control_bytes;
using bulkhead::ring::object_header;

std::vector<int> own_sockets() {
    std::vector<int> sockets;
    for (const auto& entry : fs::directory_iterator("/proc/self/fd")) {
        std::error_code ignored;
        if (contains(fs::read_symlink(entry.path(), ignored).string(), "socket:")) {
            sockets.push_back(std::stoi(entry.path().filename()));
        }
    }
    return sockets;
}

/// A word of the kind that goes far: a plausible state, a small number, all ones, anything.
std::uint64_t spiteful_word(std::mt19937_64& random) {
    using namespace bulkhead::channel;
    switch (random() % 5) {
        case 0:
            return make_state(random() % 600, static_cast<slot_step>(random() % 10));
        case 1:
            return random() % 1024;
        case 2:
            return ~std::uint64_t{0} >> random() % 64;
        case 3:
            return 0;
        default:
            return random();
    }
}

/// What a sanitizer finds in a process that has gone mad is no finding.
void report_nothing_of_this_process() {
    if (__sanitizer_set_report_path != nullptr) __sanitizer_set_report_path("stderr");
}

/// Overwrites words of the control block and the arenas at random. Racing with all else is the point.
__attribute__((no_sanitize("thread"))) int scribble(std::uint64_t seed, int words) {
    report_nothing_of_this_process();
    std::byte* memory = own_compartment();
    std::mt19937_64 random(seed);
    for (int i = 0; i != words; ++i) {
        const std::size_t where = random() % 16 == 0 ? compartment_bytes : control_bytes;
        *reinterpret_cast<volatile std::uint64_t*>(memory + random() % (where / 8) * 8) =
            spiteful_word(random);
    }
    return words;
}

__attribute__((no_sanitize("thread"))) void overwrite_all(std::uint64_t word) {
    std::byte* memory = own_compartment();
    for (std::size_t at = 0; at != control_bytes; at += 8) {
        *reinterpret_cast<volatile std::uint64_t*>(memory + at) = word;
    }
}

void overwrite_all_and_hang() {
    overwrite_all(~std::uint64_t{0});
    while (true) ::pause();
}

void wipe_all_and_crash() {
    report_nothing_of_this_process();
    overwrite_all(0);
    ::raise(SIGSEGV);
}

/// It is in the future from now on that this task has begun.
void set_own_clock_and_hang() {
    own_control_block().started_ns.store(~std::uint64_t{0} >> 1);
    while (true) ::pause();
}

/// Rings, and sends what nobody expects: bytes, other sizes, descriptors that are no memory.
int babble(std::uint64_t seed, int messages) {
    std::mt19937_64 random(seed);
    char bytes[512];
    for (int i = 0; i != messages; ++i) {
        for (const int to : own_sockets()) {
            for (auto& byte : bytes) byte = static_cast<char>(random());
            const int blocking = ::fcntl(to, F_GETFL) & ~O_NONBLOCK;
            ::fcntl(to, F_SETFL, blocking);
            if (random() % 2 == 0) {
                (void)::send(to, bytes, random() % sizeof bytes, MSG_DONTWAIT | MSG_NOSIGNAL);
                continue;
            }
            iovec part{bytes, random() % 16};
            alignas(cmsghdr) char control[CMSG_SPACE(2 * sizeof(int))]{};
            msghdr message{};
            message.msg_iov = &part;
            message.msg_iovlen = 1;
            message.msg_control = control;
            message.msg_controllen = sizeof control;
            cmsghdr* header = CMSG_FIRSTHDR(&message);
            header->cmsg_level = SOL_SOCKET;
            header->cmsg_type = SCM_RIGHTS;
            header->cmsg_len = CMSG_LEN(2 * sizeof(int));
            const int fds[] = {to, STDIN_FILENO};
            std::memcpy(CMSG_DATA(header), fds, sizeof fds);
            (void)::sendmsg(to, &message, MSG_DONTWAIT | MSG_NOSIGNAL);
        }
    }
    return messages;
}

/// The ticket of the task that this runs in.
std::uint64_t own_ticket() {
    for (const auto& at : own_control_block().slots) {
        const auto state = at.state.load();
        if (bulkhead::channel::has_begun(bulkhead::channel::step_of(state))) {
            return bulkhead::channel::ticket_of(state);
        }
    }
    std::abort();
}

/// Says that this task has begun, and that it has not, by turns.
void waver() {
    const auto ticket = own_ticket();
    auto& state = own_control_block().slots[ticket % bulkhead::channel::slots_max].state;
    while (true) {
        for (const auto step :
             {bulkhead::channel::slot_step::posted, bulkhead::channel::slot_step::run}) {
            state.store(bulkhead::channel::make_state(ticket, step));
        }
    }
}

void close_all_descriptors() { ::syscall(SYS_close_range, 3U, ~0U, 0U); }

/// A good object, and beside it what looks like another.
bulkhead::shared_value<int> send_beside_a_result(int kind) {
    std::array<char, 4096> content{};
    const int memory = ::memfd_create("strange", MFD_ALLOW_SEALING);
    if (kind == 2) content.fill('\xff');
    if (kind == 3) {  // of a size that its header does not tell
        const bulkhead::shared_value<int> good(1);
        const auto* header = reinterpret_cast<const char*>(good.get()) - 64 - sizeof(object_header);
        std::memcpy(content.data(), header, sizeof(object_header));
    }
    if (::write(memory, content.data(), content.size()) != 4096) std::abort();
    if (kind >= 2) ::fcntl(memory, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW);
    const int fds[] = {kind == 0 ? STDIN_FILENO : memory};
    for (const int to : own_sockets()) {
        (void)bulkhead::os::send_fds(to, fds, own_ticket(), false);
    }
    ::close(memory);
    return bulkhead::shared_value<int>(kind);
}

pid_t block_own_sockets() {
    const int fds[] = {STDIN_FILENO};
    for (const int to : own_sockets()) {
        (void)bulkhead::os::send_fds(to, fds, ~std::uint64_t{0}, false);
    }
    return ::getpid();
}

/// Closing it waits until its peer, which never does, has read what it was sent.
bulkhead::shared_value<int> send_lingering_socket() {
    const int listener = ::socket(AF_INET, SOCK_STREAM, 0);
    sockaddr_in here{};
    here.sin_family = AF_INET;
    here.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t bytes = sizeof here;
    if (::bind(listener, reinterpret_cast<sockaddr*>(&here), bytes) != 0 ||
        ::listen(listener, 1) != 0 ||
        ::getsockname(listener, reinterpret_cast<sockaddr*>(&here), &bytes) != 0) {
        std::abort();
    }
    const int lingering = ::socket(AF_INET, SOCK_STREAM, 0);
    if (::connect(lingering, reinterpret_cast<sockaddr*>(&here), bytes) != 0) std::abort();
    const linger long_time{1, 30'000};  // seconds
    ::setsockopt(lingering, SOL_SOCKET, SO_LINGER, &long_time, sizeof long_time);
    const std::vector<char> much(1 << 20);
    while (::send(lingering, much.data(), much.size(), MSG_DONTWAIT) > 0) {
    }
    const int fds[] = {lingering};
    for (const int to : own_sockets()) {
        if (to != lingering && to != listener) {
            (void)bulkhead::os::send_fds(to, fds, own_ticket(), false);
        }
    }
    ::close(lingering);  // not the last one; the listener stays open, and the peer in its queue
    return bulkhead::shared_value<int>(1);
}

/// Tries to make the memory smaller under its parent.
bool truncate_memory() {
    bool done = false;
    for (const auto& entry : fs::directory_iterator("/proc/self/map_files")) {
        std::error_code ignored;
        if (!contains(fs::read_symlink(entry.path(), ignored).string(), "bulkhead")) continue;
        done = ::truncate(entry.path().c_str(), 4096) == 0 || done;
    }
    return done;
}

std::string echo(const std::string& text) { return text; }

/// Every other worker's task is right; of the hostile one only that it ends.
template <class F>
void check_contained(const scene& at, F hostile, int rounds, int each) {
    process_pool pool({.workers = 3, .worker_output = bulkhead::discard});
    for (int round = 0; round != rounds; ++round) {
        // Two workers are at honest tasks, the third is not.
        std::vector<future<pid_t>> honest;
        const auto go = at.file("go" + std::to_string(round));
        for (int i = 0; i != 2; ++i) {
            const auto on = at.file("on" + std::to_string(round) + "-" + std::to_string(i));
            honest.push_back(pool.submit(hold, on, go));
            await(on);
        }
        auto spite = pool.submit(hostile, static_cast<std::uint64_t>(round), each);
        try {
            (void)spite.get();
        } catch (const bulkhead::error&) {  // its worker was killed, or says what it likes
        } catch (const std::exception&) {
        }
        announce(go);
        for (auto& f : honest) BOOST_TEST(f.get() > 0);
        // What is handed out from now on is right, whoever runs it.
        for (int i = 0; i != 6; ++i) {
            BOOST_TEST(pool.submit(square, i).get() == i * i);
            const std::string text(static_cast<std::size_t>(i) * 300, 'e');
            BOOST_TEST(
                (pool.submit(bulkhead::task_options{.retries = 1}, echo, text).get() == text));
        }
    }
    pool.join();
    check_balance(pool.stats());
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(hostile, scene)

BOOST_AUTO_TEST_CASE(garbage_in_the_shared_memory_harms_only_the_worker_that_wrote_it) {
    // A million words.
    constexpr int rounds = sanitized ? 20 : 50;
    check_contained(*this, scribble, rounds, 20'000);
}

BOOST_AUTO_TEST_CASE(a_worker_that_wrote_garbage_is_blamed_for_it) {
    process_pool pool({.workers = 1, .worker_output = bulkhead::discard});
    for (int i = 0; i != 5; ++i) {
        const auto crash = error_of<worker_crashed>(pool.submit(overwrite_all_and_hang));
        BOOST_TEST(crash.status().signal() == SIGKILL);
        BOOST_TEST((crash.cause() == bulkhead::crash_cause::misbehaved));
        BOOST_TEST(contains(crash.what(), "garbage"));
        BOOST_TEST(pool.submit(whoami).get() != crash.pid());
    }
}

BOOST_AUTO_TEST_CASE(workers_that_are_killed_for_their_garbage_count_for_the_crash_limit) {
    process_pool pool({.workers = 1, .crash_limit = 2, .worker_output = bulkhead::discard});
    for (int i = 0; i != 2; ++i) {
        (void)error_of<worker_crashed>(pool.submit(overwrite_all_and_hang));
    }
    BOOST_CHECK_THROW(pool.submit(square, 3).get(), bulkhead::pool_broken);
}

BOOST_AUTO_TEST_CASE(a_worker_that_wipes_its_memory_and_dies_has_not_failed_to_start) {
    process_pool pool({.workers = 1, .worker_output = bulkhead::discard});
    for (int i = 0; i != 10; ++i) {
        const auto crash = error_of<worker_crashed>(pool.submit(wipe_all_and_crash));
        // Or it was looked at in between.
        BOOST_TEST((crash.status().signal() == SIGSEGV ||
                    crash.cause() == bulkhead::crash_cause::misbehaved));
    }
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_task_that_sets_its_clock_does_not_outlive_its_time_limit) {
    process_pool pool(1);
    const auto crash = error_of<worker_crashed>(
        pool.submit(bulkhead::task_options{.timeout = 1h}, set_own_clock_and_hang));
    BOOST_TEST((crash.cause() == bulkhead::crash_cause::misbehaved));
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_worker_that_is_to_end_is_looked_at_until_it_has) {
    process_pool pool({.workers = 2, .worker_output = bulkhead::discard});
    std::vector<future<void>> all;
    for (int i = 0; i != 2; ++i) {
        const auto on = file("on" + std::to_string(i));
        all.push_back(pool.submit(
            bulkhead::task_options{.timeout = 1h},
            [](const fs::path& here, const fs::path& go) {
                (void)hold(here, go);
                overwrite_all_and_hang();
            },
            on, file("go")));
        await(on);
    }
    pool.resize(1);
    announce(file("go"));
    for (auto& f : all) {
        const auto crash = error_of<worker_crashed>(std::move(f));
        BOOST_TEST((crash.cause() == bulkhead::crash_cause::misbehaved));
    }
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_task_that_says_it_has_not_begun_is_ended_by_limit_and_cancel_all_the_same) {
    process_pool pool({.workers = 2, .worker_output = bulkhead::discard});
    for (int i = 0; i != 10; ++i) {
        auto late = pool.submit(bulkhead::task_options{.timeout = 5ms}, waver);
        auto unwanted = pool.submit(waver);
        until([&] { return unwanted.running() || unwanted.done(); });
        (void)unwanted.cancel();
        unwanted.wait();
        late.wait();
        BOOST_CHECK_THROW(late.get(), bulkhead::error);
        BOOST_CHECK_THROW(unwanted.get(), bulkhead::error);
        BOOST_TEST(pool.submit(square, i).get() == i * i);
    }
    pool.join();
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_CASE(a_worker_whose_descriptors_a_task_has_closed_is_replaced) {
    process_pool pool({.workers = 1, .worker_output = bulkhead::discard});
    const pid_t pid = pool.submit(whoami).get();
    pool.submit(close_all_descriptors).get();
    until([&] { return is_dead(pid); });
    const std::string large(50'000'000, 'l');
    BOOST_TEST((pool.submit(echo, large).get() == large));
    BOOST_TEST(pool.submit(whoami).get() != pid);
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(a_few_words_of_garbage_harm_only_the_worker_that_wrote_them) {
    // Few enough that most of what is shared stays plausible.
    check_contained(*this, scribble, sanitized ? 20 : 100, 30);
}

BOOST_AUTO_TEST_CASE(garbage_on_the_sockets_harms_only_the_worker_that_sent_it) {
    check_contained(*this, babble, 10, 2'000);
}

BOOST_AUTO_TEST_CASE(what_a_worker_sends_as_an_object_and_is_none_fails_its_result) {
    process_pool pool(1);
    const pid_t pid = pool.submit(whoami).get();
    for (int kind = 0; kind != 4; ++kind) {
        const auto failure = error_of<bulkhead::error>(pool.submit(send_beside_a_result, kind));
        BOOST_TEST(contains(failure.what(), "refers to"), kind << ": " << failure.what());
        if (kind == 3) BOOST_TEST(contains(failure.what(), "it has 4096 bytes"), failure.what());
    }
    BOOST_TEST(pool.submit(whoami).get() == pid);
}

BOOST_AUTO_TEST_CASE(a_worker_that_blocks_its_own_socket_is_replaced) {
    process_pool pool(1);
    // A message for a result that is far from being there: nothing behind it would ever be read.
    const pid_t pid = pool.submit(block_own_sockets).get();
    const auto crash =
        error_of<worker_crashed>(pool.submit([] { return bulkhead::shared_value<int>(1); }));
    BOOST_TEST((crash.cause() == bulkhead::crash_cause::misbehaved));
    BOOST_TEST(crash.pid() == pid);
    BOOST_TEST(*pool.submit([] { return bulkhead::shared_value<int>(2); }).get() == 2);
}

BOOST_AUTO_TEST_CASE(a_socket_that_lingers_does_not_stop_the_parent) {
    process_pool pool(1);
    // It lingers for hours; without care this would hang.
    const auto failure = error_of<bulkhead::error>(pool.submit(send_lingering_socket));
    BOOST_TEST(contains(failure.what(), "refers to"), failure.what());
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_worker_cannot_shrink_the_memory_under_its_parent) {
    process_pool pool(1);
    BOOST_TEST(!pool.submit(truncate_memory).get());
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(a_worker_that_scribbles_while_it_works_never_stops_its_siblings) {
    process_pool pool({.workers = 2, .worker_output = bulkhead::discard});
    // A thread in the worker that goes on for as long as the worker lives.
    auto infected = pool.submit([] {
        std::thread([] {
            for (std::uint64_t seed = 0;; ++seed) {
                (void)scribble(seed, 100);
                ::usleep(1000);
            }
        }).detach();
    });
    try {
        infected.get();
    } catch (const bulkhead::error&) {
    }
    // Tasks at the infected worker may be lost; those with retries come through in the end, and the
    // pool stays usable when that worker is gone.
    int right = 0;
    for (int i = 0; i != 200; ++i) {
        auto f = pool.submit(bulkhead::task_options{.timeout = 5s, .retries = 3}, square, i);
        try {
            if (f.get() == i * i) ++right;
        } catch (const std::exception&) {
        }
    }
    BOOST_TEST(right > 150);
    check_balance(pool.stats());
}

BOOST_AUTO_TEST_SUITE_END()
