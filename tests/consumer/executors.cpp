// Executors, options, errors and tokens beyond contract.cpp, as somebody else's program: prints 49 when all is
// right.
#include "check.hpp"

#include <bulkhead/asio.hpp>
#include <bulkhead/bulkhead.hpp>

#include <boost/asio.hpp>

#include <atomic>
#include <csignal>
#include <filesystem>
#include <ranges>
#include <string>
#include <unistd.h>
#include <unordered_set>

using namespace bulkhead;
using namespace std::chrono_literals;

struct bad_line : std::runtime_error {
    using std::runtime_error::runtime_error;
};
BULKHEAD_EXCEPTION(bad_line);

/// With a codec of its own.
class sealed {
public:
    explicit sealed(int value) : value_(value) {}
    [[nodiscard]] int value() const { return value_; }

private:
    int value_;
};
template <>
struct bulkhead::codec<sealed> {
    static void encode(encoder& out, const sealed& value) {
        if (value.value() < 0) throw codec_error("a negative number is not sent");
        out.write(value.value());
    }
    static sealed decode(decoder& in) { return sealed(in.read<int>()); }
};

namespace {

int square(int x) { return x * x; }
int add(int x, int y) { return x + y; }
int value_of(const sealed& value) { return value.value(); }
std::size_t count(const std::unordered_set<int>& all) { return all.size(); }
void throw_bad_line() { throw bad_line("line 7"); }
void throw_once(const std::string& mark) {
    if (::access(mark.c_str(), F_OK) != 0) {
        std::fclose(std::fopen(mark.c_str(), "w"));
        throw std::domain_error("the first time");
    }
}
[[noreturn]] void exit_with(int code) { std::_Exit(code); }
[[noreturn]] void hang() {
    while (true) ::pause();
}
void say(const std::string& text) {
    std::fputs((text + "\n").c_str(), stdout);
    std::fflush(stdout);
}
int in_steps() {
    for (int i = 1; i <= 10; ++i) report_progress(i, 10);
    return 10;
}
int nested(int depth) {
    if (depth == 0) return 0;
    return process_pool({.workers = 1, .nesting_max = 3}).submit(nested, depth - 1).get() + 1;
}

template <task_executor Pool>
void on_either(Pool&& pool) {
    CHECK(pool.submit(task_options{.priority = 1, .name = "named"}, square, 3).get() == 9);
    CHECK(pool.try_submit(square, 3)->get() == 9);
    CHECK(pool.try_submit(task_options{.name = "tried"}, square, 3)->get() == 9);
    const std::vector<int> xs{1, 2, 3};
    int sum = 0;
    for (int z : pool.map(add, xs, std::views::iota(10))) sum += z;
    CHECK(sum == 39);
    for (int y : pool.map(map_options{.chunk_size = 2}, square, xs)) sum += y;
    CHECK(sum == 53);
    for (auto [i, y] : pool.map_unordered(map_options{.lookahead_max = 4}, add, xs, xs)) {
        CHECK(y == 2 * xs[i]);
    }
    for (int y : pool.map(square, xs) | std::views::transform([](int x) { return x + 1; })) {
        CHECK(y > 1);
    }
    pool.map(square, xs).wait();
    for (int y : progress_bar(pool.map(square, xs), {.label = "squares"})) CHECK(y > 0);
    progress_meter meter({.label = "by hand", .total = 2});
    meter.advance();
    meter.set(2);
    CHECK(meter.done() == 2);
    meter.finish();

    const std::string mark = "/tmp/bulkhead-executors-" + std::to_string(::getpid());
    const task_options again{.retries = 1, .retry_on = exceptions<std::domain_error>};
    pool.submit(again, throw_once, mark).get();
    std::filesystem::remove(mark);
    CHECK(pool.stats().retried == 1);

    std::atomic<int> told{0};
    const task_options loud{.on_progress = [&](const task_progress& now) {
        if (now.total == 10) ++told;
    }};
    auto walking = pool.submit(loud, in_steps);
    walking.on_progress([](std::uint64_t done, std::uint64_t total) { CHECK(done <= total); });
    walking.wait();
    CHECK((walking.progress() == task_progress{10, 10} && walking.progress().fraction() == 1));
    CHECK(walking.get() == 10 && told > 0);

    const auto line = THROWN(bad_line, pool.submit(throw_bad_line).get());
    CHECK(std::string(line.what()) == "line 7");
    (void)THROWN(remote_info, pool.submit(throw_bad_line).get());
    (void)THROWN(std::runtime_error, pool.submit(throw_bad_line).get());

    boost::asio::io_context io;
    int answers = 0;
    pool.async_submit(square, 3, boost::asio::bind_executor(io, [&](std::exception_ptr e, int y) {
                          CHECK(!e && y == 9);
                          ++answers;
                      }));
    pool.async_submit(loud, square, 3,
                      boost::asio::bind_executor(
                          boost::asio::make_strand(boost::asio::any_io_executor(io.get_executor())),
                          [&](std::exception_ptr, int) { ++answers; }));
    auto later = pool.submit(square, 5);
    later.on_done(io, [&](future<int> done) {
        CHECK(done.get() == 25);
        ++answers;
    });
    pool.async_join(boost::asio::bind_executor(io, [&](std::exception_ptr e) {
        CHECK(!e);
        ++answers;
    }));
    io.run();
    CHECK(answers == 4);

    CHECK(!pool.workers().empty());
    for (const worker_info& worker : pool.workers()) {
        const auto state = worker.state;
        CHECK(state == worker_state::starting || state == worker_state::idle ||
              state == worker_state::busy || state == worker_state::dead);
    }
    pool.resize(1);
    pool.close();
    pool.join();
    (void)THROWN(pool_closed, pool.try_submit(square, 1));
    pool.terminate();
    pool.shutdown();
    pool.shutdown({.wait = true, .cancel_queued = true});
}

void processes_only() {
    CHECK(process_pool(1).submit(value_of, sealed(7)).get() == 7);
    process_pool pool(1);
    (void)THROWN(codec_error, pool.submit(value_of, sealed(-1)).get());
    CHECK(pool.submit(count, std::unordered_set<int>{1, 2}).get() == 2);
    CHECK(pool.submit(nested, 2).get() == 2);
    (void)THROWN(error, process_pool(1).submit(nested, 5).get());
    const auto crashed = THROWN(worker_crashed, pool.submit(exit_with, 42).get());
    CHECK(!crashed.status().signaled() && crashed.status().exit_code() == 42);
    CHECK(!crashed.status().success());

    // A task that is slow for whoever waits for it in a coroutine: the timer wins, and the task ends.
    boost::asio::io_context io;
    boost::asio::cancellation_signal stop;
    bool ended = false;
    pool.async_submit(hang,
                      boost::asio::bind_cancellation_slot(
                          stop.slot(), boost::asio::bind_executor(io, [&](std::exception_ptr e) {
                              (void)THROWN(task_cancelled, std::rethrow_exception(e));
                              ended = true;
                          })));
    stop.emit(boost::asio::cancellation_type::terminal);
    io.run();
    CHECK(ended);

    process_pool broken({.workers = 1, .initializer = {exit_with, 1}});
    (void)THROWN(pool_broken, broken.submit(square, 1).get());

    std::atomic<int> started{0};
    std::atomic<int> died{0};
    std::string said;
    {
        process_pool watched({.workers = 1,
                              .on_event =
                                  [&](const pool_event& event) {
                                      CHECK(event.message.empty() && event.task_name.empty());
                                      if (event.what == pool_event::kind::worker_started)
                                          started += event.pid > 0;
                                      if (event.what == pool_event::kind::worker_died)
                                          died += event.status.success();
                                  },
                              .worker_output =
                                  [&](const output_line& line) {
                                      CHECK(line.pid > 0 && !line.is_stderr &&
                                            line.task_name == "speaker");
                                      said += line.text;
                                  }});
        watched.submit(task_options{.name = "speaker"}, say, "hello").get();
    }
    CHECK(started == 1 && died == 1 && said == "hello");
    process_pool({.workers = 1, .worker_output = inherit}).submit(square, 1).wait();

    // This program's own tasks by their names.
    process_pool other(
        {.workers = 1, .executable = std::filesystem::read_symlink("/proc/self/exe")});
    constexpr named_task<int(int)> square_by_name("square");
    CHECK(other.submit(square_by_name, 6).get() == 36 && square_by_name.name() == "square");
    (void)THROWN(codec_error, other.submit(named_task<int()>("unknown")).get());
}

void threads_only() {
    thread_pool pool({.workers = 2, .backlog_max = 100});
    CHECK(pool.submit([text = std::string("any")](int x) { return text + std::to_string(x); }, 1)
              .get() == "any1");
    (void)THROWN(usage_error, pool.submit(task_options{.timeout = 1s}, square, 1));
}

}  // namespace

BULKHEAD_TASK("square", square);

int main(int argc, char** argv) {
    init(argc, argv);
    on_either(process_pool({.workers = 2}));
    on_either(thread_pool({.workers = 2}));
    processes_only();
    threads_only();
    std::cout << square(7) << '\n';
}
