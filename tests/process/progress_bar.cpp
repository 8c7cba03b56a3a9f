// The line that shows how far a loop is: on a terminal, when asked elsewhere, and never into a pipe unasked.
#include "support/scene.hpp"

#include <algorithm>
#include <cstdlib>
#include <fcntl.h>
#include <poll.h>
#include <ranges>
#include <sys/ioctl.h>
#include <system_error>

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::progress_meter;

/// Catches what goes to standard error: a pipe's or a terminal's.
class caught_stderr {
public:
    static caught_stderr in_a_pipe() {
        int ends[2];
        require(::pipe2(ends, O_CLOEXEC | O_NONBLOCK) == 0);
        return {ends[0], ends[1]};
    }
    static caught_stderr on_a_terminal(int columns) {
        const int master = ::posix_openpt(O_RDWR | O_NOCTTY | O_CLOEXEC | O_NONBLOCK);
        require(master >= 0 && ::grantpt(master) == 0 && ::unlockpt(master) == 0);
        const int terminal = ::open(::ptsname(master), O_RDWR | O_NOCTTY | O_CLOEXEC);
        require(terminal >= 0);
        winsize size{};
        size.ws_row = 24;
        size.ws_col = static_cast<unsigned short>(columns);
        require(::ioctl(terminal, TIOCSWINSZ, &size) == 0);
        return {master, terminal};
    }
    ~caught_stderr() {
        restore();
        ::close(reading_);
    }
    caught_stderr(const caught_stderr&) = delete;
    caught_stderr& operator=(const caught_stderr&) = delete;

    /// All that was written since the beginning.
    std::string text() {
        std::string all;
        char buffer[4096];
        while (true) {
            pollfd readable{.fd = reading_, .events = POLLIN, .revents = 0};
            if (::poll(&readable, 1, 0) != 1 || (readable.revents & POLLIN) == 0) break;
            const ssize_t got = ::read(reading_, buffer, sizeof buffer);
            if (got <= 0) break;
            all.append(buffer, static_cast<std::size_t>(got));
        }
        restore();
        return all;
    }

private:
    caught_stderr(int reading, int writing)
        : reading_(reading), before_(::fcntl(STDERR_FILENO, F_DUPFD_CLOEXEC, 0)) {
        require(::dup2(writing, STDERR_FILENO) >= 0);
        ::close(writing);
    }
    static void require(bool good) {
        if (!good) throw std::system_error(errno, std::generic_category(), "catching stderr");
    }
    void restore() {
        if (before_ < 0) return;
        ::dup2(before_, STDERR_FILENO);
        ::close(before_);
        before_ = -1;
    }

    int reading_;
    int before_;
};

int square_unless_odd(int x) {
    if (x % 2 != 0) throw std::domain_error("odd");
    return x * x;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(progress_bar, scene)

BOOST_AUTO_TEST_CASE(the_loop_is_what_it_is_without_it) {
    process_pool pool(2);
    caught_stderr caught = caught_stderr::in_a_pipe();
    int expected = 0;
    for (const int y : bulkhead::progress_bar(pool.map(square, std::views::iota(0, 50)))) {
        BOOST_TEST(y == expected * expected);
        ++expected;
    }
    BOOST_TEST(expected == 50);
    std::vector<int> numbers{1, 2, 3};
    for (int& number : bulkhead::progress_bar(numbers)) number *= 2;
    BOOST_TEST(numbers == (std::vector{2, 4, 6}));
    std::size_t seen = 0;
    for (auto&& [index, y] :
         bulkhead::progress_bar(pool.map_unordered(square, std::views::iota(0, 20)))) {
        BOOST_TEST(y == static_cast<int>(index * index));
        ++seen;
    }
    BOOST_TEST(seen == 20U);
    BOOST_TEST(caught.text() == "");
}

BOOST_AUTO_TEST_CASE(asked_for_it_ends_with_a_line_that_says_how_many_of_how_many) {
    process_pool pool(2);
    caught_stderr caught = caught_stderr::in_a_pipe();
    std::vector<bulkhead::future<int>> futures;
    for (int i = 0; i != 7; ++i) futures.push_back(pool.submit(square, i));
    for (auto& f : bulkhead::progress_bar(bulkhead::as_completed(futures),
                                          {.label = "squares", .always = true})) {
        (void)f.get();
    }
    const std::string text = caught.text();
    BOOST_TEST(text.starts_with("squares: "), text);
    BOOST_TEST(contains(text, "squares: 7/7 (100 %), "), text);
    BOOST_TEST(contains(text, ", took "), text);
    BOOST_TEST(text.ends_with("\n"));
    BOOST_TEST(!contains(text, "\r"));
}

BOOST_AUTO_TEST_CASE(without_a_total_it_counts) {
    caught_stderr caught = caught_stderr::in_a_pipe();
    auto small = std::views::iota(0) | std::views::take_while([](int x) { return x != 12; });
    int seen = 0;
    for (const int x : bulkhead::progress_bar(small, {.always = true})) seen += x >= 0 ? 1 : 0;
    BOOST_TEST(seen == 12);
    const std::string text = caught.text();
    BOOST_TEST(text.starts_with("12, "), text);
    BOOST_TEST(std::ranges::count(text, '\n') == 1);
}

BOOST_AUTO_TEST_CASE(an_item_that_throws_is_a_step_too) {
    process_pool pool(1);
    caught_stderr caught = caught_stderr::in_a_pipe();
    int good = 0;
    int bad = 0;
    auto squares = bulkhead::progress_bar(pool.map(square_unless_odd, std::views::iota(0, 9)),
                                          {.always = true});
    for (auto it = squares.begin(); it != squares.end(); ++it) {
        try {
            (void)*it;
            ++good;
        } catch (const std::domain_error&) {
            ++bad;
        }
    }
    BOOST_TEST(good == 5);
    BOOST_TEST(bad == 4);
    BOOST_TEST(contains(caught.text(), "9/9 (100 %)"));
}

BOOST_AUTO_TEST_CASE(on_a_terminal_each_state_overwrites_the_last_and_fits_into_the_line) {
    for (const int columns : {20, 60, 200}) {
        caught_stderr caught = caught_stderr::on_a_terminal(columns);
        {
            progress_meter meter({.label = "work", .total = 1000});
            meter.advance();
            ::usleep(150'000);
            for (int i = 0; i != 499; ++i) meter.advance();
            meter.set(1000);
            BOOST_TEST(meter.done() == 1000U);
        }
        const std::string text = caught.text();
        BOOST_TEST(text.starts_with("\rwork: "), text);
        BOOST_TEST(std::ranges::count(text, '\n') == 1);
        BOOST_TEST(text.ends_with("\n"));
        BOOST_TEST(contains(text, "2/1000 (0 %)"), text);
        BOOST_TEST(contains(text, "####") == (columns >= 60), text);
        std::size_t at = 0;
        for (std::size_t next = 0; next != std::string::npos; at = next + 1) {
            next = text.find("\033[K", at);
            if (next == std::string::npos) break;
            const std::size_t begin = text.rfind('\r', next);
            BOOST_TEST(next - begin - 1 < static_cast<std::size_t>(columns));
        }
    }
}

BOOST_AUTO_TEST_CASE(a_loop_that_is_left_early_leaves_a_whole_line) {
    caught_stderr caught = caught_stderr::on_a_terminal(80);
    for (const int x : bulkhead::progress_bar(std::views::iota(0, 100))) {
        if (x == 10) break;
    }
    const std::string text = caught.text();
    BOOST_TEST(contains(text, "10/100 (10 %)"), text);
    BOOST_TEST(text.ends_with("\n"));
}

BOOST_AUTO_TEST_SUITE_END()
