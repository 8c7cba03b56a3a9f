// One function in a process of its own.
#include "support/scene.hpp"

#include <fcntl.h>

namespace {

using namespace test;

/// What this process and its children write to stderr, for a while.
class captured_stderr {
public:
    explicit captured_stderr(fs::path to) : to_(std::move(to)), saved_(::dup(STDERR_FILENO)) {
        const int fd = ::open(to_.c_str(), O_CREAT | O_WRONLY | O_TRUNC, 0600);
        ::dup2(fd, STDERR_FILENO);
        ::close(fd);
    }
    ~captured_stderr() {
        ::dup2(saved_, STDERR_FILENO);
        ::close(saved_);
    }
    captured_stderr(const captured_stderr&) = delete;
    captured_stderr& operator=(const captured_stderr&) = delete;
    [[nodiscard]] std::string text() const { return content(to_); }

private:
    fs::path to_;
    int saved_;
};

class own_error : public std::runtime_error {
    using std::runtime_error::runtime_error;
};

void sleepy(const fs::path& started) { hang(started); }

void start_itself(const fs::path& log) {
    append_line(log, "here");
    try {
        bulkhead::process(start_itself, log).join();
    } catch (const bulkhead::usage_error& refusal) {
        append_line(log, refusal.what());
    }
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(process, scene)

BOOST_AUTO_TEST_CASE(ten_in_turn_each_run_their_function_elsewhere) {
    for (int i = 0; i != 10; ++i) {
        bulkhead::process p(append_line, file("log"), std::to_string(i));
        BOOST_TEST(p.pid() > 0);
        BOOST_TEST(p.pid() != ::getpid());
        const auto status = p.join();
        BOOST_TEST(status.success());
        BOOST_TEST((status == p.status()));
        BOOST_TEST(!p.running());
    }
    BOOST_TEST(lines_of(file("log")).size() == 10U);
}

BOOST_AUTO_TEST_CASE(a_function_that_starts_itself_in_a_process_comes_to_a_bound) {
    bulkhead::process(start_itself, file("log")).join();
    BOOST_TEST(lines_of(file("log")).size() == bulkhead::process_nesting_max + 1);
    BOOST_TEST(contains(content(file("log")), "is not started"));
}

BOOST_AUTO_TEST_CASE(arguments_are_converted_and_travel_whole) {
    const auto write = [](const fs::path& to, const std::string& text, std::vector<int> numbers) {
        announce(to, text + std::to_string(numbers.size()) + std::to_string(numbers.back()));
    };
    bulkhead::process p(write, file("out"), "text", std::vector<int>(100'000, 7));
    BOOST_TEST(p.join().success());
    BOOST_TEST(content(file("out")) == "text1000007");
}

BOOST_AUTO_TEST_CASE(the_destructor_joins) {
    pid_t pid = 0;
    {
        bulkhead::process p(hold, file("on"), file("go"));
        pid = p.pid();
        BOOST_TEST(p.running());
        BOOST_TEST(p.status().running());
        announce(file("go"));
    }
    BOOST_TEST(is_gone(pid));
    BOOST_TEST(await_pid(file("on")) == pid);
}

BOOST_AUTO_TEST_CASE(ends_are_told_apart) {
    bulkhead::process left([](int code) { std::exit(code); }, 42);
    BOOST_TEST(left.join().exit_code() == 42);
    bulkhead::process left_at_once([] { ::_exit(7); });
    BOOST_TEST(left_at_once.join().exit_code() == 7);
    bulkhead::process crashed([] { ::raise(SIGSEGV); });
    BOOST_TEST(crashed.join().signal() == SIGSEGV);
    BOOST_TEST(contains(crashed.status().to_string(), "SIGSEGV"));
    bulkhead::process result_dropped(square, 5);
    BOOST_TEST(result_dropped.join().success());
}

BOOST_AUTO_TEST_CASE(an_exception_is_printed_with_its_type_and_the_exit_code_is_1) {
    const captured_stderr captured(file("stderr"));
    bulkhead::process standard([] { throw std::invalid_argument("not this"); });
    BOOST_TEST(standard.join().exit_code() == 1);
    BOOST_TEST(contains(captured.text(), "std::invalid_argument: not this"));
    bulkhead::process own([] { throw own_error("mine"); });
    BOOST_TEST(own.join().exit_code() == 1);
    BOOST_TEST(contains(captured.text(), "own_error: mine"));
    bulkhead::process number([] { throw 5; });
    BOOST_TEST(number.join().exit_code() == 1);
    BOOST_TEST(contains(captured.text(), "int"));
}

BOOST_AUTO_TEST_CASE(terminate_and_kill_end_it_and_its_children) {
    bulkhead::process terminated(sleepy, file("a"));
    await(file("a"));
    BOOST_TEST(!terminated.join_for(1ms));
    terminated.terminate();
    BOOST_TEST(terminated.join().signal() == SIGTERM);
    terminated.terminate();
    terminated.kill();

    const auto with_child = [](const fs::path& child, const fs::path& started) {
        if (::fork() == 0) hang(child);
        hang(started);
    };
    bulkhead::process killed(with_child, file("child"), file("b"));
    const pid_t child = await_pid(file("child"));
    await(file("b"));
    killed.kill();
    BOOST_TEST(killed.join_for(1h));
    BOOST_TEST(killed.status().signal() == SIGKILL);
    await_dead(child);
}

BOOST_AUTO_TEST_CASE(a_moved_one_holds_nothing) {
    bulkhead::process one(sleepy, file("on"));
    const pid_t pid = one.pid();
    bulkhead::process other(std::move(one));
    BOOST_TEST(other.pid() == pid);
    BOOST_TEST(one.pid() == 0);  // NOLINT(bugprone-use-after-move)
    BOOST_TEST(!one.running());  // NOLINT(bugprone-use-after-move)
    BOOST_CHECK_THROW(one.join(), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)one.status(), bulkhead::usage_error);
    one.kill();
    other.kill();
    bulkhead::process third([] {});
    other = std::move(third);  // joins the first
    BOOST_TEST(is_gone(pid));
    BOOST_TEST(other.join().success());
}

BOOST_AUTO_TEST_CASE(many_at_once_run_at_the_same_time) {
    std::vector<bulkhead::process> all;
    for (int i = 0; i != 10; ++i)
        all.emplace_back(hold, file("on" + std::to_string(i)), file("go"));
    for (int i = 0; i != 10; ++i) await(file("on" + std::to_string(i)));
    for (const auto& p : all) BOOST_TEST(p.running());
    announce(file("go"));
    for (auto& p : all) BOOST_TEST(p.join().success());
}

BOOST_AUTO_TEST_CASE(what_it_prints_is_not_lost) {
    const auto print = [](const fs::path& to) {
        const int fd = ::open(to.c_str(), O_CREAT | O_WRONLY, 0600);
        ::dup2(fd, STDOUT_FILENO);
        std::printf("%s", "buffered by C");
        std::fflush(nullptr);
        std::printf("%s", ", unflushed");
    };
    bulkhead::process p(print, file("out"));
    BOOST_TEST(p.join().success());
    BOOST_TEST(content(file("out")) == "buffered by C, unflushed");
}

BOOST_AUTO_TEST_CASE(it_has_no_descriptors_but_the_standard_ones) {
    const int inheritable = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as C libraries do
    bulkhead::process p(
        [](const fs::path& to) {
            std::string leaked;
            for (const auto& one : open_files()) {
                if (std::stoi(one) > 2 && !contains(one, "/proc/")) leaked += one + "\n";
            }
            announce(to, leaked);
        },
        file("out"));
    BOOST_TEST(p.join().success());
    ::close(inheritable);
    BOOST_TEST(!contains(content(file("out")), "/dev/null"));
}

BOOST_AUTO_TEST_SUITE_END()
