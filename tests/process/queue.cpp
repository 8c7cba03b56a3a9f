#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>
#include <bulkhead/queue.hpp>

#include <algorithm>
#include <chrono>
#include <filesystem>
#include <map>
#include <memory>
#include <numeric>
#include <optional>
#include <ranges>
#include <stdexcept>
#include <string>
#include <thread>
#include <vector>

namespace queue_test {

/// Some values do not encode.
struct picky {
    std::string text;
};

}  // namespace queue_test

template <>
struct bulkhead::codec<queue_test::picky> {
    static void encode(encoder& out, const queue_test::picky& value) {
        out.write(value.text);
        if (value.text == "bad") throw std::invalid_argument("does not encode");
    }
    static queue_test::picky decode(decoder& in) { return {in.read<std::string>()}; }
};

namespace {

using namespace std::chrono_literals;
using queue_test::picky;
using test::forked;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(queue, test::leaves_nothing)

BOOST_AUTO_TEST_CASE(a_writer_process_and_a_reader_process_share_a_queue) {
    const bulkhead::queue<int> q;
    const bulkhead::queue<int> sums;
    const pid_t writer = forked([&] {
        for (int i = 0; i != 1000; ++i) q.put(i);
        q.close();
    });
    const pid_t reader = forked([&] {
        int sum = 0;
        int expected = 0;
        for (const int v : q) sum += v == expected++ ? v : 1'000'000;
        sums.put(sum);
    });
    BOOST_TEST(sums.get() == 999 * 1000 / 2);
    BOOST_TEST(test::ended(writer) == 0);
    BOOST_TEST(test::ended(reader) == 0);
    BOOST_TEST(q.closed());
    BOOST_CHECK_THROW((void)q.get(), bulkhead::queue_closed);
    BOOST_CHECK_THROW(q.put(1), bulkhead::queue_closed);
}

BOOST_AUTO_TEST_CASE(values_of_every_shape_pass) {
    const bulkhead::queue<std::map<std::string, std::vector<int>>> maps;
    maps.put({{"a", {1, 2}}});
    BOOST_TEST(maps.get().at("a").size() == 2U);
    const bulkhead::queue<std::unique_ptr<std::string>> owners;
    owners.put(std::make_unique<std::string>("moved"));
    for (const auto& owned : owners) {
        BOOST_TEST(*owned == "moved");
        owners.close();
    }
    const bulkhead::queue<std::vector<double>> vectors;
    vectors.put({});
    vectors.put({1.5, 2.5});
    BOOST_TEST(vectors.get().empty());
    BOOST_TEST(vectors.get().back() == 2.5);
    const bulkhead::queue<bool> flags;
    flags.put(true);
    BOOST_TEST(flags.get());
}

BOOST_AUTO_TEST_CASE(a_queue_is_an_input_range) {
    static_assert(std::ranges::input_range<const bulkhead::queue<int>>);
    static_assert(std::ranges::input_range<const bulkhead::queue<std::unique_ptr<int>>>);
    const bulkhead::queue<int> q;
    for (int i = 0; i != 10; ++i) q.put(i);
    q.close();
    std::vector<int> even;
    std::ranges::copy(q | std::views::filter([](int v) { return v % 2 == 0; }),
                      std::back_inserter(even));
    BOOST_TEST(even == (std::vector<int>{0, 2, 4, 6, 8}));
    BOOST_TEST(std::accumulate(q.begin(), q.end(), 0) == 0);
}

BOOST_AUTO_TEST_CASE(trying_and_waiting_for_a_while_say_no_instead_of_throwing) {
    const bulkhead::queue<std::string> q({.capacity_bytes = 8});
    BOOST_TEST((q.try_get() == std::nullopt));
    BOOST_TEST((q.get_for(5ms) == std::nullopt));
    BOOST_TEST(q.try_put("12345678"));
    BOOST_TEST(!q.try_put("12345678"));
    BOOST_TEST(!q.put_for("12345678", 5ms));
    BOOST_TEST(q.size() == 1U);
    BOOST_TEST((q.get_for(1h) == "12345678"));
    BOOST_TEST(q.empty());
    q.close();
    BOOST_TEST((q.try_get() == std::nullopt));
    BOOST_CHECK_THROW((void)q.get_for(1ms), bulkhead::queue_closed);
    BOOST_CHECK_THROW(q.try_put("x"), bulkhead::queue_closed);
}

BOOST_AUTO_TEST_CASE(a_queue_of_256_mib_takes_that_much_in_one_message_or_in_many) {
    constexpr std::size_t capacity = std::size_t{256} << 20;
    const std::string name = test::unique_name();
    // Small containers have 64 MiB of /dev/shm.
    const bool named = std::filesystem::space("/dev/shm").available > 2 * capacity;
    const auto q = named ? bulkhead::queue<std::string>::create(name, {.capacity_bytes = capacity})
                         : bulkhead::queue<std::string>({.capacity_bytes = capacity});
    const pid_t other = forked([&] {
        const auto same = named ? bulkhead::queue<std::string>::open(name) : q;
        std::string large(capacity, 'x');
        large.back() = 'y';
        same.put(large);
        const std::string part(capacity / 64 - 8, 'z');
        for (int i = 0; i != 64; ++i) same.put(part);
    });
    const std::string large = q.get();
    BOOST_TEST((large.size() == capacity && large.front() == 'x' && large.back() == 'y'));
    BOOST_TEST(test::ended(other) == 0);
    BOOST_TEST(q.size() == 64U);
    BOOST_TEST(!q.try_put("full"));
    while (!q.empty()) BOOST_TEST(q.borrow()[0] == 'z');
    BOOST_TEST(bulkhead::queue<std::string>::remove(name) == named);
}

BOOST_AUTO_TEST_CASE(messages_of_up_to_the_capacity_fit_and_a_larger_one_writes_nothing) {
    const bulkhead::queue<std::string> q({.capacity_bytes = 1000});
    BOOST_TEST(q.capacity_bytes() == 1000U);
    for (const std::size_t bytes : {0U, 1U, 999U, 1000U}) {
        q.put(std::string(bytes, 'x'));
        BOOST_TEST(q.get().size() == bytes);
    }
    BOOST_TEST(
        test::throws<std::length_error>([&] { q.put(std::string(1001, 'x')); }, "1001 bytes"));
    BOOST_TEST(q.empty());
}

BOOST_AUTO_TEST_CASE(a_value_that_fails_to_encode_leaves_the_queue_as_it_was) {
    const bulkhead::queue<picky> q;
    q.put({"good"});
    BOOST_CHECK_THROW(q.put({"bad"}), std::invalid_argument);
    BOOST_TEST(q.size() == 1U);
    q.put({"better"});
    BOOST_TEST(q.get().text == "good");
    BOOST_TEST(q.get().text == "better");
}

BOOST_AUTO_TEST_CASE(a_message_that_does_not_decode_is_gone_and_the_next_one_comes) {
    const std::string name = test::unique_name();
    const auto q = bulkhead::queue<std::optional<int>>::create(name);
    const auto raw = bulkhead::detail::queue_core::open(
        name, bulkhead::detail::type_tag_of<std::optional<int>>());
    const std::byte nonsense[] = {std::byte{7}};
    raw.put(nonsense, bulkhead::detail::wait_for_ever);
    q.put(5);
    BOOST_CHECK_THROW((void)q.get(), bulkhead::codec_error);
    BOOST_TEST((q.get() == 5));
    bulkhead::queue<int>::remove(name);
}

BOOST_AUTO_TEST_CASE(a_writer_exits_with_the_queue_undrained_and_everything_is_read) {
    const bulkhead::queue<std::string> q;
    BOOST_TEST(test::ended(forked([&] {
                   for (int i = 0; i != 500; ++i)
                       q.put(std::string(static_cast<std::size_t>(i), 'x'));
               })) == 0);
    for (std::size_t i = 0; i != 500; ++i) BOOST_REQUIRE(q.get().size() == i);
    BOOST_TEST(q.empty());
}

BOOST_AUTO_TEST_CASE(join_tasks_waits_for_the_other_process) {
    const bulkhead::queue<int> q;
    for (int i = 0; i != 100; ++i) q.put(i);
    BOOST_TEST(!q.join_tasks_for(1ms));
    const pid_t worker = forked([&] {
        for (int i = 0; i != 100; ++i) {
            (void)q.get();
            q.task_done();
        }
    });
    q.join_tasks();
    BOOST_TEST(test::ended(worker) == 0);
    BOOST_CHECK_THROW(q.task_done(), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(a_range_is_put_in_its_order_and_several_messages_are_taken_at_once) {
    const bulkhead::queue<std::string> q({.capacity_bytes = 1000});
    std::vector<std::string> texts;
    for (int i = 0; i != 500; ++i)
        texts.push_back(std::string(static_cast<std::size_t>(i % 60), 'x'));
    std::size_t put = 0;
    std::jthread writer([&] {
        put = q.put_all(texts) + q.put_all(std::vector<std::string>());
        q.close();
    });
    BOOST_TEST(q.get_some(0).empty());
    std::vector<std::string> got;
    try {
        for (;;) {
            for (auto& text : q.get_some(7)) got.push_back(std::move(text));
        }
    } catch (const bulkhead::queue_closed&) {
    }
    writer.join();
    BOOST_TEST(put == texts.size());
    BOOST_TEST(got == texts);
    BOOST_TEST(q.try_get_some(7).empty());
}

BOOST_AUTO_TEST_CASE(batches_may_be_of_anything_that_travels_and_wait_as_long_as_asked) {
    const bulkhead::queue<std::optional<int>> q;
    BOOST_TEST(q.try_get_some(5).empty());
    BOOST_TEST(q.get_some_for(5, 5ms).empty());
    BOOST_TEST(q.put_all(std::views::iota(0, 10) | std::views::transform([](int i) {
                             return i % 2 == 0 ? std::optional(i) : std::nullopt;
                         })) == 10U);
    const auto some = q.get_some_for(4, 1h);
    BOOST_REQUIRE(some.size() == 4U);
    BOOST_TEST((some[2] == std::optional(2)));
    BOOST_TEST(!some[3].has_value());
    BOOST_TEST(q.try_get_some(100).size() == 6U);
}

BOOST_AUTO_TEST_CASE(a_range_that_throws_or_holds_what_is_too_large_is_put_as_far_as_it_goes) {
    const bulkhead::queue<std::string> q({.capacity_bytes = 100});
    const auto throwing = std::views::iota(0, 5) | std::views::transform([](int i) {
                              if (i == 3) throw std::runtime_error("no more");
                              return std::to_string(i);
                          });
    BOOST_CHECK_THROW((void)q.put_all(throwing), std::runtime_error);
    BOOST_TEST((q.get_some(100) == std::vector<std::string>{"0", "1", "2"}));
    const std::vector<std::string> texts{"a", "b", std::string(101, 'c'), "d"};
    BOOST_CHECK_THROW((void)q.put_all(texts), std::length_error);
    BOOST_TEST((q.get_some(100) == std::vector<std::string>{"a", "b"}));
}

BOOST_AUTO_TEST_CASE(what_comes_out_of_another_queue_goes_on_at_once) {
    const bulkhead::queue<int> in;
    const bulkhead::queue<int> out;
    std::jthread between([&] {
        (void)out.put_all(in);
        out.close();
    });
    for (int i = 0; i != 3; ++i) {
        in.put(i);
        BOOST_TEST(out.get() == i);
    }
    in.close();
    BOOST_CHECK_THROW((void)out.get(), bulkhead::queue_closed);
}

BOOST_AUTO_TEST_SUITE_END()
