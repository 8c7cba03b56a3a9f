// Queues, locks and shared memory beyond contract.cpp, as somebody else's program: prints 49 when all is right.
#include "check.hpp"

#include <bulkhead/asio.hpp>
#include <bulkhead/bulkhead.hpp>

#include <boost/asio.hpp>

#include <csignal>
#include <cstring>
#include <mutex>
#include <shared_mutex>
#include <string>
#include <thread>
#include <unistd.h>

using namespace bulkhead;
using namespace std::chrono_literals;

namespace {

const std::string name = "bulkhead-memory-" + std::to_string(::getpid());

[[noreturn]] void die_with(const mutex& held) {
    held.lock();
    std::raise(SIGKILL);
    std::_Exit(1);
}

/// The locks as a task's arguments: each is the one that the caller has.
int use_all(const recursive_mutex& again, const shared_mutex& shared, const semaphore& permits,
            const event& go, const condition_variable& changed, const mutex& m,
            const shared_map<std::string, int>& words) {
    go.wait();
    permits.acquire();
    { const std::scoped_lock both(again, m); }
    { const std::shared_lock reading(shared); }
    changed.notify_all();
    words.update("word", [](int& times) { ++times; });
    return 7;
}

void locks() {
    auto m = mutex::create(name);
    CHECK(mutex::open(name).try_lock());
    std::thread([&] {
        CHECK(!m.try_lock_for(1ms) && !m.try_lock_until(std::chrono::steady_clock::now()));
    }).join();
    m.unlock();
    lock_state how{};
    CHECK(m.try_lock_for(1s, &how) && how == lock_state::clean);
    m.unlock();
    process(die_with, m).join();
    CHECK(m.lock() == lock_state::inherited);
    m.unlock();
    CHECK(m.lock() == lock_state::clean);
    m.unlock();
    (void)THROWN(error, mutex::create(name));
    CHECK(mutex::open_or_create(name).try_lock());
    m.unlock();
    CHECK(mutex::remove(name) && !mutex::remove(name));
    (void)THROWN(error, mutex::open(name));

    auto again = recursive_mutex::open_or_create(name);
    CHECK(again.try_lock_for(1s) && again.lock() == lock_state::clean);
    again.unlock();
    again.unlock();
    recursive_mutex::remove(name);

    auto shared = shared_mutex::create(name);
    CHECK(shared.try_lock_shared());
    std::thread([&] {
        CHECK(!shared_mutex::open(name).try_lock() && shared.try_lock_shared_for(1s));
        shared.unlock_shared();
    }).join();
    shared.unlock_shared();
    CHECK(shared.try_lock());
    shared.unlock();
    CHECK(shared.lock_shared() == lock_state::clean);
    shared.unlock_shared();
    shared_mutex::remove(name);

    auto permits = semaphore::create(name, 2);
    permits.acquire();
    CHECK(permits.try_acquire_for(1s) && !permits.try_acquire_for(1ms));
    CHECK(!permits.try_acquire_until(std::chrono::steady_clock::now()) && permits.available() == 0);
    permits.release(2);
    CHECK(semaphore::open(name).available() == 2);
    CHECK(semaphore::open_or_create(name, 5).available() == 2);
    semaphore::remove(name);

    auto go = event::create(name);
    CHECK(!go.wait_for(1ms) && !go.is_set());
    event::open(name).set();
    CHECK(go.wait_until(std::chrono::system_clock::now() + 1s));
    go.clear();
    CHECK(!go.is_set());
    event::remove(name);

    auto changed = condition_variable::create(name);
    {
        std::unique_lock held(m);
        CHECK(changed.wait_for(held, 1ms) == std::cv_status::timeout);
        CHECK(!changed.wait_until(held, std::chrono::steady_clock::now(), [] { return false; }));
        changed.wait(held, [] { return true; });
    }
    changed.notify_one();
    condition_variable::remove(name);

    auto both = barrier::create(name, 2);
    auto token = both.arrive();
    CHECK(!both.wait_for(token, 1ms));
    barrier::open(name).arrive_and_drop();
    both.wait(std::move(token));
    both.abort();
    CHECK(both.broken());
    (void)THROWN(barrier_broken, (both.arrive_and_wait(), 0));
    barrier::remove(name);

    process_pool pool(1);
    const shared_map<std::string, int> words;
    words.insert("word", 1);
    permits.acquire();
    auto task = pool.submit(use_all, again, shared, permits, go, changed, m, words);
    {
        std::unique_lock held(m);
        go.set();
        changed.wait(held);
    }
    CHECK(task.get() == 7 && words.get("word") == 2);
}

void values() {
    auto balance = guarded<int>::create(name, 5);
    CHECK(guarded<int>::open(name).with_lock([](int& b) { return ++b; }) == 6);
    CHECK(guarded<int>::open_or_create(name, 9).with_lock([](int& b) { return b; }) == 6);
    CHECK(guarded<int>::remove(name));

    auto hits = shared_value<std::atomic<int>>::create(name, 4);
    ++*shared_value<std::atomic<int>>::open(name);
    CHECK(hits->load() == 5 && *shared_value<std::atomic<int>>::open_or_create(name) == 5);
    CHECK(shared_value<std::atomic<int>>::remove(name));

    auto numbers = shared_array<double>::create(name, 3, 1.5);
    const auto same = shared_array<double>::open(name);
    same[1] = 2;
    CHECK(numbers.size() == 3 && !numbers.empty() && numbers.at(1) == 2 && *numbers.begin() == 1.5);
    CHECK(numbers.data() == same.data() && numbers.end() - numbers.begin() == 3);
    (void)THROWN(std::out_of_range, numbers.at(3));
    (void)THROWN(error, shared_array<int>::open(name));
    CHECK(shared_array<double>::open_or_create(name, 3).at(2) == 1.5);
    CHECK(shared_array<double>::remove(name));
    const std::vector<int> some{1, 2};
    CHECK(shared_array<int>(std::span<const int>(some))[1] == 2);

    auto words = shared_map<std::string, int>::create(name);
    CHECK(words.insert("one", 1) && !words.insert("one", 2) && words.at("one") == 1);
    CHECK(shared_map<std::string, int>::open(name).get("one") == 1 && words.size() == 1);
    CHECK(words.contains("one") && !words.get("two") && words.erase("one") && words.empty());
    words.clear();
    CHECK((shared_map<std::string, int>::remove(name)));
}

void queues() {
    queue<std::string> q;
    CHECK(q.put_all(std::vector<std::string>{"a", "b", "c"}) == 3);
    CHECK((q.get_some(2) == std::vector<std::string>{"a", "b"}) && q.try_get_some(5).size() == 1);
    CHECK(q.get_some_for(1, 1ms).empty() && !q.get_for(1ms));

    queue<std::vector<std::byte>> raw;
    {
        auto message = raw.loan(4);
        std::memcpy(message.data(), "abcd", 4);
        message.put();
        auto seen = raw.borrow();
        CHECK(seen.size() == 4 && std::memcmp(seen.data(), "abcd", 4) == 0);
        seen.release();
    }
    CHECK(raw.empty());

    queue<int> jobs;
    for (int i = 0; i != 3; ++i) jobs.put(i);
    for (int i = 0; i != 3; ++i) {
        (void)jobs.get();
        jobs.task_done();
    }
    jobs.join_tasks();
    (void)THROWN(usage_error, (jobs.task_done(), 0));
    boost::asio::io_context io;
    int got = 0;
    jobs.async_get(boost::asio::bind_executor(io, [&](std::exception_ptr e, int x) {
        CHECK(!e);
        got = x;
    }));
    jobs.async_put(7, boost::asio::bind_executor(io, [](std::exception_ptr e) { CHECK(!e); }));
    io.run();
    CHECK(got == 7);
    jobs.close();
    (void)THROWN(queue_closed, (jobs.put(1), 0));
}

}  // namespace

int main(int argc, char** argv) {
    init(argc, argv);
    locks();
    values();
    queues();
    std::cout << 49 << '\n';
}
