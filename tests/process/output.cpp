// What workers write: where it goes, and what a crash keeps of it.
#include "support/program.hpp"
#include "support/scene.hpp"

#include <atomic>
#include <iostream>
#include <map>
#include <mutex>

namespace {

using namespace test;
using bulkhead::output_line;
using bulkhead::process_pool;
using bulkhead::task_options;
using bulkhead::worker_crashed;

void say_and_crash(const std::string& words) {
    std::cerr << "first line\n" << words << '\n';
    std::abort();
}
int say(int lines) {
    for (int i = 0; i != lines; ++i) std::cerr << "line " << i << '\n';
    return lines;
}
void print_without_end(const std::string& words) {
    std::cerr << words;
    std::_Exit(3);
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(output, scene)

BOOST_AUTO_TEST_CASE(a_crash_carries_the_last_lines_of_standard_error) {
    for (const auto& policy : {bulkhead::output_policy(bulkhead::discard),
                               bulkhead::output_policy([](const output_line&) {})}) {
        process_pool pool({.workers = 1, .worker_output = policy});
        const auto crash =
            error_of<worker_crashed>(pool.submit(say_and_crash, "assertion x > 0 failed"));
        BOOST_TEST(crash.stderr_tail() == "first line\nassertion x > 0 failed\n");
        BOOST_TEST(contains(crash.what(), "\"assertion x > 0 failed\""), crash.what());
        const auto quiet = error_of<worker_crashed>(pool.submit([] { std::abort(); }));
        BOOST_TEST(quiet.stderr_tail() == "");
        const auto cut = error_of<worker_crashed>(pool.submit(print_without_end, "no end"));
        BOOST_TEST(cut.stderr_tail() == "no end");
    }
}

BOOST_AUTO_TEST_CASE(of_much_output_the_last_whole_lines_are_kept) {
    process_pool pool({.workers = 1, .worker_output = bulkhead::discard});
    const auto crash = error_of<worker_crashed>(pool.submit([] {
        for (int i = 0; i != 100'000; ++i) std::cerr << "line " << i << '\n';
        std::abort();
    }));
    const auto& tail = crash.stderr_tail();
    BOOST_TEST(tail.size() <= 4096U);
    BOOST_TEST(tail.size() > 3000U);
    BOOST_TEST(tail.starts_with("line "));
    BOOST_TEST(tail.ends_with("line 99999\n"));
}

BOOST_AUTO_TEST_CASE(a_callback_gets_each_line_with_pid_and_task) {
    std::mutex mutex;
    std::vector<output_line> lines;
    pid_t pid = 0;
    {
        process_pool pool({.workers = 1, .worker_output = [&](const output_line& line) {
                               const std::lock_guard lock(mutex);
                               lines.push_back(line);
                           }});
        pid = pids_of(pool)[0];
        auto f = pool.submit(
            task_options{.name = "printer"},
            [](const fs::path& go) {
                std::cout << "to stdout" << std::endl;
                std::cerr << "to stderr\n";
                await(go);
            },
            file("go"));
        until([&] {
            const std::lock_guard lock(mutex);
            return lines.size() == 2;
        });
        announce(file("go"));
        f.get();
        BOOST_TEST(pool.submit(say, 500).get() == 500);
    }
    BOOST_TEST(lines.size() == 502U);
    for (std::size_t i = 0; i != 2; ++i) {
        BOOST_TEST(lines[i].pid == pid);
        BOOST_TEST(lines[i].task_name == "printer");
        BOOST_TEST(lines[i].text == (lines[i].is_stderr ? "to stderr" : "to stdout"));
    }
    for (std::size_t i = 2; i != lines.size(); ++i) {
        BOOST_TEST(lines[i].text == "line " + std::to_string(i - 2));
    }
}

BOOST_AUTO_TEST_CASE(each_line_of_many_short_tasks_has_the_name_of_the_one_that_wrote_it) {
    std::map<std::string, int> lines;  // wrongly named ones by ""
    {
        process_pool pool({.workers = 2, .worker_output = [&](const output_line& line) {
                               ++lines[line.text == line.task_name ? line.text : ""];
                           }});
        std::vector<bulkhead::future<void>> all;
        for (int i = 0; i != 300; ++i) {
            const std::string name = "task " + std::to_string(i);
            all.push_back(pool.submit(
                task_options{.name = name},
                [](const std::string& own, bool to_stderr) {
                    std::fputs((own + "\n").c_str(), to_stderr ? stderr : stdout);
                },
                name, i % 3 == 0));
            all.push_back(pool.submit([] {}));
        }
        for (auto& f : all) f.get();
    }
    BOOST_TEST(lines[""] == 0);
    BOOST_TEST(lines.size() == 301U);
}

BOOST_AUTO_TEST_CASE(a_task_ends_though_a_process_that_it_left_behind_goes_on_writing) {
    std::atomic<int> lines{0};
    process_pool pool({.workers = 1, .worker_output = [&](const output_line&) { ++lines; }});
    pool.submit([] {
            if (::fork() == 0) {
                while (::write(STDOUT_FILENO, "again\n", 6) == 6) {
                }
                ::_exit(0);
            }
        })
        .get();
    BOOST_TEST(pool.submit(square, 3).get() == 9);
    until([&] { return lines > 0; });
    pool.terminate();
}

BOOST_AUTO_TEST_CASE(a_task_that_puts_another_pipe_in_place_of_its_output_is_not_waited_for) {
    process_pool pool({.workers = 1, .worker_output = [](const output_line&) {}});
    const auto replace = [] {
        int ends[2];
        if (::pipe(ends) != 0) return false;
        return ::dup2(ends[1], STDOUT_FILENO) >= 0 && ::write(STDOUT_FILENO, "unread", 6) == 6;
    };
    BOOST_TEST(pool.submit(replace).get());
    // At half a second each they would come to the watchdog's end.
    for (int i = 0; i != 1000; ++i) BOOST_TEST(pool.submit(square, i).get() == i * i);
}

BOOST_AUTO_TEST_CASE(a_callback_may_take_line_pid_and_name_apart) {
    std::atomic<int> seen{0};
    {
        process_pool pool(
            {.workers = 1, .worker_output = [&](std::string_view line, pid_t, std::string_view) {
                 if (line == "line 0") ++seen;
             }});
        (void)pool.submit(say, 1).get();
    }
    {
        process_pool pool(
            {.workers = 1, .worker_output = [&](pid_t, std::string_view, std::string_view line) {
                 if (line == "line 0") ++seen;
             }});
        (void)pool.submit(say, 1).get();
    }
    {
        process_pool pool(
            {.workers = 1,
             .worker_output = [&](const std::string& line, pid_t, const std::string&) {
                 if (line == "line 0") ++seen;
             }});
        (void)pool.submit(say, 1).get();
    }
    {
        process_pool pool(
            {.workers = 1, .worker_output = [&](pid_t, std::string, const std::string& line) {
                 if (line == "line 0") ++seen;
             }});
        (void)pool.submit(say, 1).get();
    }
    BOOST_TEST(seen == 4);
}

BOOST_AUTO_TEST_CASE(a_slow_reader_never_holds_up_a_worker) {
    std::atomic<bool> go{false};
    std::atomic<int> lines{0};
    std::atomic<bool> told_of_drops{false};
    {
        process_pool pool({.workers = 1, .worker_output = [&](const output_line& line) {
                               until([&] { return go.load(); });
                               ++lines;
                               if (contains(line.text, "were dropped")) told_of_drops = true;
                           }});
        // Far more than pipe and memory keep, while nobody reads.
        constexpr int many = sanitized ? 200'000 : 1'000'000;
        BOOST_TEST(pool.submit(say, many).get() == many);
        BOOST_TEST(lines <= 1);
        go = true;
    }
    BOOST_TEST(lines > 100);
    BOOST_TEST(told_of_drops);
}

BOOST_AUTO_TEST_CASE(after_shutdown_every_line_has_been_given_however_slow_the_callback) {
    for (const bool terminated : {false, true}) {
        std::vector<std::string> lines;  // no lock: what comes later would be a race
        process_pool pool(
            {.workers = 2, .worker_output = [&](std::string_view line, pid_t, std::string_view) {
                 ::usleep(500);
                 lines.emplace_back(line);
             }});
        BOOST_TEST(pool.submit(say, 200).get() == 200);
        if (terminated) {
            pool.terminate();
        } else {
            pool.shutdown();
        }
        BOOST_TEST(lines.size() == 200U);
    }
}

BOOST_AUTO_TEST_CASE(a_callback_may_shut_its_pool_down) {
    std::atomic<bool> went{false};
    process_pool* self = nullptr;
    process_pool pool({.workers = 1, .worker_output = [&](const output_line&) {
                           self->shutdown();
                           went = true;
                       }});
    self = &pool;
    (void)pool.submit(say, 3);
    until([&] { return went.load(); });
    pool.shutdown();
}

BOOST_AUTO_TEST_CASE(a_callback_that_throws_does_no_harm) {
    process_pool pool({.workers = 1, .worker_output = [](const output_line&) {
                           throw std::runtime_error("no");
                       }});
    BOOST_TEST(pool.submit(say, 10).get() == 10);
    BOOST_TEST(pool.submit(square, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(by_default_workers_write_where_the_program_writes) {
    for (const std::string mode : {"inherit", "discard"}) {
        program one(*this, "printer", {mode});
        BOOST_TEST(one.wait().success());
        BOOST_TEST(one.out() == (mode == "inherit" ? "from the worker\n7\n" : "7\n"));
        BOOST_TEST(one.err() == (mode == "inherit" ? "and from the worker\n" : ""));
    }
}

BOOST_AUTO_TEST_CASE(a_crash_keeps_the_tail_of_what_goes_where_the_program_writes) {
    program one(*this, "printer", {"crash"});
    BOOST_TEST(one.wait().success());
    BOOST_TEST(one.out() == "last words\n");
    BOOST_TEST(one.err() == "last words\n");
}

BOOST_AUTO_TEST_SUITE_END()
