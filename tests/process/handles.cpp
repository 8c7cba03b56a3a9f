// Handles of queues, mutexes and guarded values on their way to other processes.
#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/bulkhead.hpp>

#include <fcntl.h>
#include <memory>
#include <mutex>
#include <shared_mutex>
#include <span>
#include <string>
#include <vector>

namespace {

using test::forked;

/// Bytes as one process hands them to another.
class letter final : public bulkhead::encoder {
public:
    letter() {
        begin_ = pos_ = room_;
        end_ = room_ + sizeof room_;
    }
    void keep_alive(std::shared_ptr<const void> object) override { kept.push_back(object); }
    [[nodiscard]] std::span<const std::byte> bytes() const { return {begin_, size()}; }

    std::vector<std::shared_ptr<const void>> kept;

private:
    void grow(std::size_t) override { throw std::bad_alloc(); }
    std::byte room_[512];
};

}  // namespace

BOOST_FIXTURE_TEST_SUITE(handles, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(a_handle_leads_a_process_that_knew_nothing_of_it_to_the_queue) {
    int to_child[2];
    BOOST_REQUIRE(::pipe2(to_child, O_CLOEXEC) == 0);
    const pid_t child = forked([&] {
        std::byte bytes[512];
        const ssize_t got = ::read(to_child[0], bytes, sizeof bytes);
        if (got <= 0) ::_exit(2);
        bulkhead::decoder in(std::span(bytes, static_cast<std::size_t>(got)));
        const auto numbers = in.read<bulkhead::queue<int>>();
        const auto lock = in.read<bulkhead::mutex>();
        const auto total = in.read<bulkhead::guarded<int>>();
        const auto again = in.read<bulkhead::queue<int>>();
        in.expect_end();
        const std::size_t before = test::open_descriptors();
        const std::scoped_lock guard(lock);
        for (const int v : numbers) total.with_lock([&](int& t) { t += v; });
        if (test::open_descriptors() != before) ::_exit(3);
    });
    // Made after the fork, so the child can have them only through the letter.
    const bulkhead::queue<int> numbers;
    const bulkhead::mutex lock;
    const bulkhead::guarded<int> total(0);
    {
        letter out;
        out.write(numbers);
        out.write(lock);
        out.write(total);
        out.write(numbers);
        BOOST_TEST(out.kept.size() == 4U);
        BOOST_REQUIRE(::write(to_child[1], out.bytes().data(), out.size()) ==
                      static_cast<ssize_t>(out.size()));
    }
    for (int i = 1; i != 101; ++i) numbers.put(i);
    numbers.close();
    BOOST_TEST(test::ended(child) == 0);
    BOOST_TEST(total.get() == 5050);
    ::close(to_child[0]);
    ::close(to_child[1]);
}

BOOST_AUTO_TEST_CASE(a_handle_in_its_own_process_is_the_same_queue) {
    const bulkhead::queue<int> q;
    letter out;
    out.write(q);
    const std::size_t before = test::open_descriptors();
    bulkhead::decoder in(out.bytes());
    const auto same = in.read<bulkhead::queue<int>>();
    BOOST_TEST(test::open_descriptors() == before);
    q.put(1);
    BOOST_TEST(same.get() == 1);
}

BOOST_AUTO_TEST_CASE(a_handle_of_what_is_gone_or_is_something_else_does_not_decode) {
    letter out;
    {
        const bulkhead::queue<int> q;
        out.write(q);
        bulkhead::decoder in(out.bytes());
        BOOST_TEST(test::throws<bulkhead::codec_error>(
            [&] { (void)in.read<bulkhead::queue<std::string>>(); },
            "it holds 'int', not 'std::string'"));
        bulkhead::decoder again(out.bytes());
        BOOST_TEST(test::throws<bulkhead::codec_error>([&] { (void)again.read<bulkhead::mutex>(); },
                                                       "it is a queue, not a mutex"));
    }
    out.kept.clear();
    bulkhead::decoder in(out.bytes());
    BOOST_CHECK_THROW((void)in.read<bulkhead::queue<int>>(), bulkhead::codec_error);
    for (std::size_t length = 0; length != out.size(); ++length) {
        bulkhead::decoder cut(out.bytes().first(length));
        BOOST_CHECK_THROW((void)cut.read<bulkhead::queue<int>>(), bulkhead::codec_error);
    }
}

BOOST_AUTO_TEST_CASE(a_named_queue_travels_through_a_queue_and_an_anonymous_one_is_refused) {
    const std::string name = test::unique_name();
    const bulkhead::queue<bulkhead::queue<int>> queues;
    queues.put(bulkhead::queue<int>::create(name));
    queues.get().put(5);
    BOOST_TEST(bulkhead::queue<int>::open(name).get() == 5);
    bulkhead::queue<int>::remove(name);
    BOOST_TEST(test::throws<bulkhead::codec_error>([&] { queues.put(bulkhead::queue<int>()); },
                                                   "outlive"));
    BOOST_TEST(queues.empty());
}

BOOST_AUTO_TEST_CASE(a_handle_that_was_moved_from_still_names_its_object) {
    const auto check = [](auto first, auto use) {
        auto second = std::move(first);
        use(first);  // NOLINT(bugprone-use-after-move): that is the claim
        use(second);
        auto third = second;
        third = std::move(first);  // NOLINT(bugprone-use-after-move)
        use(first);                // NOLINT(bugprone-use-after-move)
        use(third);
    };
    check(bulkhead::queue<int>(), [](const auto& q) {
        q.put(1);
        BOOST_TEST(q.get() == 1);
    });
    const auto lock = [](const auto& m) { const std::lock_guard held(m); };
    check(bulkhead::mutex(), lock);
    check(bulkhead::recursive_mutex(), lock);
    check(bulkhead::shared_mutex(), [](const auto& m) { const std::shared_lock held(m); });
    check(bulkhead::semaphore(1), [](const auto& s) {
        s.acquire();
        s.release();
    });
    check(bulkhead::event(), [](const auto& e) {
        e.set();
        BOOST_TEST(e.is_set());
    });
    check(bulkhead::condition_variable(), [](const auto& c) { c.notify_all(); });
    check(bulkhead::barrier(1), [](const auto& b) { b.arrive_and_wait(); });
    check(bulkhead::guarded<int>(5), [](const auto& g) { BOOST_TEST(g.get() == 5); });
    check(bulkhead::shared_value<int>(6), [](const auto& v) { BOOST_TEST(*v == 6); });
    check(bulkhead::shared_array<int>(7), [](const auto& a) { BOOST_TEST(a.size() == 7U); });
    check(bulkhead::shared_map<int, int>(), [](const auto& m) { BOOST_TEST(m.empty()); });
}

BOOST_AUTO_TEST_SUITE_END()
