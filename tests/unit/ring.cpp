#include "ring/ring.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/error.hpp>

#include <cstring>
#include <deque>
#include <future>
#include <memory>
#include <random>
#include <stdexcept>
#include <string>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using namespace bulkhead::ring;
using bulkhead::detail::byte_sink;
using bulkhead::detail::wait_for_ever;
using bulkhead::detail::wait_not_at_all;

/// A ring in memory of this process.
class own_ring {
public:
    explicit own_ring(std::size_t capacity_bytes) : bytes_(byte_ring::body_bytes(capacity_bytes)) {
        memory_.reset(static_cast<std::byte*>(std::aligned_alloc(64, (bytes_ + 63) / 64 * 64)));
        std::memset(memory_.get(), 0, bytes_);
        byte_ring::construct(memory_.get(), capacity_bytes);
        ring_.emplace(memory_.get(), bytes_, "the ring of the test");
    }

    outcome put(const std::string& text, bulkhead::detail::deadline until = wait_not_at_all) {
        const message one = std::as_bytes(std::span(text));
        std::size_t count = 0;
        return ring_->put({&one, 1}, until, count);
    }
    std::optional<std::string> get(bulkhead::detail::deadline until = wait_not_at_all) {
        std::string text;
        std::size_t count = 0;
        const byte_sink sink{&text, [](void* to, std::size_t bytes) {
                                 auto& into = *static_cast<std::string*>(to);
                                 into.resize(bytes);
                                 return reinterpret_cast<std::byte*>(into.data());
                             }};
        if (ring_->get(sink, 1, until, count) != outcome::done) return std::nullopt;
        return text;
    }
    byte_ring& operator*() { return *ring_; }
    byte_ring* operator->() { return &*ring_; }
    ring_layout& layout() { return *reinterpret_cast<ring_layout*>(memory_.get()); }
    std::byte* memory() { return memory_.get(); }
    [[nodiscard]] std::size_t bytes() const { return bytes_; }

private:
    struct freed {
        void operator()(std::byte* memory) const { std::free(memory); }
    };
    std::size_t bytes_;
    std::unique_ptr<std::byte[], freed> memory_;
    std::optional<byte_ring> ring_;
};

std::string numbered(std::size_t bytes, unsigned number) {
    std::string text(bytes, '\0');
    for (std::size_t i = 0; i != bytes; ++i) text[i] = static_cast<char>(number + i * 31);
    return text;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(ring)

BOOST_AUTO_TEST_CASE(a_message_of_any_size_up_to_the_capacity_fits_and_a_larger_one_is_refused) {
    for (std::size_t capacity = 1; capacity != 100; ++capacity) {
        own_ring ring(capacity);
        for (std::size_t bytes = 0; bytes <= capacity; ++bytes) {
            BOOST_TEST((ring.put(numbered(bytes, 1)) == outcome::done));
            BOOST_TEST((ring.get() == numbered(bytes, 1)));
        }
        BOOST_CHECK_THROW(ring.put(numbered(capacity + 1, 1)), std::length_error);
        BOOST_TEST(ring->size() == 0U);
    }
}

BOOST_AUTO_TEST_CASE(what_goes_in_comes_out_in_order_around_the_end_of_the_buffer) {
    std::mt19937 random(42);
    for (const std::size_t capacity : {8U, 9U, 64U, 100U, 1000U}) {
        own_ring ring(capacity);
        std::deque<std::string> model;
        for (unsigned step = 0; step != 20'000; ++step) {
            if (random() % 2 == 0) {
                const auto text = numbered(random() % (capacity + 1), step);
                if (ring.put(text) == outcome::done) model.push_back(text);
            } else {
                const auto got = ring.get();
                BOOST_REQUIRE(got.has_value() == !model.empty());
                if (got) {
                    BOOST_REQUIRE((*got == model.front()));
                    model.pop_front();
                }
            }
            BOOST_REQUIRE(ring->size() == model.size());
        }
    }
}

BOOST_AUTO_TEST_CASE(a_full_ring_takes_no_more_and_gives_all_it_has) {
    own_ring ring(100);
    unsigned count = 0;
    while (ring.put(numbered(10, count)) == outcome::done) ++count;
    BOOST_TEST(count == 112U / 24U);
    for (unsigned i = 0; i != count; ++i) BOOST_TEST((ring.get() == numbered(10, i)));
    BOOST_TEST((ring.get() == std::nullopt));
}

BOOST_AUTO_TEST_CASE(several_go_in_and_out_in_one_go_as_far_as_they_fit) {
    own_ring ring(100);
    const std::string text(20, 'x');
    const std::vector<message> ten(10, std::as_bytes(std::span(text)));
    std::size_t count = 0;
    BOOST_TEST((ring->put(ten, wait_not_at_all, count) == outcome::done));
    BOOST_TEST(count == 3U);
    BOOST_TEST((ring->put(ten, wait_not_at_all, count) == outcome::timed_out));
    BOOST_TEST(count == 0U);
    std::string all;
    // Room for two only.
    const byte_sink sink{&all, [](void* to, std::size_t bytes) -> std::byte* {
                             auto& into = *static_cast<std::string*>(to);
                             if (into.size() == 40) return nullptr;
                             into.resize(into.size() + bytes);
                             return reinterpret_cast<std::byte*>(into.data() + into.size() - bytes);
                         }};
    BOOST_TEST((ring->get(sink, 10, wait_not_at_all, count) == outcome::done));
    BOOST_TEST(count == 2U);
    BOOST_TEST(all == std::string(40, 'x'));
    BOOST_TEST(ring->size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_sink_that_throws_leaves_the_message) {
    own_ring ring(100);
    ring.put("precious");
    std::size_t count = 0;
    const byte_sink refuses{nullptr,
                            [](void*, std::size_t) -> std::byte* { throw std::bad_alloc(); }};
    BOOST_CHECK_THROW(ring->get(refuses, 1, wait_not_at_all, count), std::bad_alloc);
    BOOST_TEST((ring.get() == "precious"));
}

BOOST_AUTO_TEST_CASE(closed_means_no_puts_and_the_rest_can_be_had) {
    own_ring ring(100);
    ring.put("last");
    ring->close();
    ring->close();
    BOOST_TEST((ring.put("late") == outcome::closed));
    BOOST_TEST((ring.get() == "last"));
    std::string text;
    std::size_t count = 0;
    BOOST_TEST(
        (ring->get(byte_sink{nullptr, nullptr}, 1, wait_for_ever, count) == outcome::closed));
}

BOOST_AUTO_TEST_CASE(a_waiting_thread_is_woken_by_a_message_by_room_and_by_the_close) {
    own_ring ring(8);
    std::jthread reader([&] {
        for (unsigned i = 0; i != 20'000; ++i) {
            if (ring.get(wait_for_ever) != std::to_string(i)) std::abort();
        }
        if (ring.get(wait_for_ever).has_value()) std::abort();
    });
    for (unsigned i = 0; i != 20'000; ++i) {
        BOOST_REQUIRE((ring.put(std::to_string(i), wait_for_ever) == outcome::done));
    }
    ring->close();
}

BOOST_AUTO_TEST_CASE(many_threads_share_a_ring_and_each_message_arrives_once) {
    constexpr unsigned writers = 3;
    constexpr unsigned per_writer = 5'000;
    own_ring ring(200);
    std::atomic<unsigned> seen[writers * per_writer]{};
    {
        std::vector<std::jthread> readers;
        for (int i = 0; i != 3; ++i) {
            readers.emplace_back([&] {
                while (const auto text = ring.get(wait_for_ever)) ++seen[std::stoul(*text)];
            });
        }
        {
            std::vector<std::jthread> threads;
            for (unsigned w = 0; w != writers; ++w) {
                threads.emplace_back([&ring, w] {
                    for (unsigned i = 0; i != per_writer; ++i) {
                        ring.put(std::to_string(w * per_writer + i), wait_for_ever);
                    }
                });
            }
        }
        ring->close();
    }
    for (const auto& count : seen) BOOST_REQUIRE(count == 1U);
}

BOOST_AUTO_TEST_CASE(a_wait_ends_at_its_deadline) {
    using namespace std::chrono_literals;
    own_ring ring(8);
    const auto begin = std::chrono::steady_clock::now();
    BOOST_TEST((ring.get(begin + 20ms) == std::nullopt));
    ring.put("full");
    BOOST_TEST((ring.put("12345678", begin + 40ms) == outcome::timed_out));
    BOOST_TEST((std::chrono::steady_clock::now() - begin >= 40ms));
}

BOOST_AUTO_TEST_CASE(tasks_are_done_as_often_as_they_were_put) {
    own_ring ring(100);
    BOOST_TEST((ring->join_tasks(wait_not_at_all) == outcome::done));
    ring.put("one");
    ring.put("two");
    std::jthread worker([&] {
        while (ring.get()) ring->task_done();
    });
    BOOST_TEST((ring->join_tasks(wait_for_ever) == outcome::done));
    worker.join();
    BOOST_CHECK_THROW(ring->task_done(), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(what_a_killed_writer_had_begun_does_not_count) {
    own_ring ring(100);
    ring.put("whole");
    // All that a put does before its commit: bytes in the free part, the other tally.
    writers_side& side = ring.layout().writers;
    std::memset(ring.memory() + sizeof(ring_layout) + 16, 0xff, 80);
    side.put[~side.tail & 1] = UINT64_MAX;
    BOOST_TEST(ring->size() == 1U);
    BOOST_TEST((ring.get() == "whole"));
    BOOST_TEST((ring.put("next") == outcome::done));
    BOOST_TEST((ring.get() == "next"));
}

BOOST_AUTO_TEST_CASE(what_a_killed_reader_had_begun_does_not_count) {
    own_ring ring(100);
    ring.put("precious");
    readers_side& side = ring.layout().readers;
    side.got[~side.head & 1] = UINT64_MAX;
    BOOST_TEST(ring->size() == 1U);
    BOOST_TEST((ring.get() == "precious"));
    BOOST_TEST(ring->size() == 0U);
}

BOOST_AUTO_TEST_CASE(an_emptied_ring_goes_on_at_its_beginning) {
    own_ring ring(8 << 20);
    const std::string text(1000, 'x');
    std::uint64_t largest = 0;
    for (int i = 0; i != 50'000; ++i) {
        ring.put(text);
        ring.put("y");
        BOOST_REQUIRE((ring.get() == text));
        BOOST_REQUIRE((ring.get() == "y"));
        largest = std::max(largest, ring_position(ring.layout().writers.tail).offset());
    }
    BOOST_TEST(largest > (std::uint64_t{1} << 19));
    BOOST_TEST(largest < (std::uint64_t{2} << 20));
    BOOST_TEST((ring.put(std::string(8 << 20, 'z')) == outcome::done));
    BOOST_TEST((ring.get() == std::string(8 << 20, 'z')));
}

BOOST_AUTO_TEST_CASE(a_reader_killed_while_it_went_to_the_beginning_leaves_that_to_the_next) {
    for (const bool reader_is_next : {false, true}) {
        own_ring ring(2 << 20);
        ring.put(std::string(3 << 19, 'x'));
        ring_layout& layout = ring.layout();
        const std::uint64_t tail = layout.writers.tail;
        (void)ring.get();
        BOOST_TEST(ring_position(layout.writers.tail).round() == 1U);
        BOOST_TEST(ring_position(layout.readers.head).round() == 1U);
        // As if only the tail had been moved.
        layout.readers.head = layout.readers.tail_seen = layout.writers.head_seen =
            tail ^ (layout.readers.head & 1) ^ (tail & 1) ^ 1;
        BOOST_TEST(ring->size() == 0U);
        if (reader_is_next) {
            BOOST_TEST((ring.get() == std::nullopt));
            BOOST_TEST(ring_position(layout.readers.head).round() == 1U);
        } else {
            // Has room when the skipped part counts no more.
            const auto within = std::chrono::steady_clock::now() + std::chrono::seconds(20);
            BOOST_TEST((ring.put(std::string(1 << 20, 'y'), within) == outcome::done));
            BOOST_TEST((ring.get() == std::string(1 << 20, 'y')));
        }
        BOOST_TEST(ring->size() == 0U);
        BOOST_TEST((ring.put(std::string(2 << 20, 'z')) == outcome::done));
        BOOST_TEST((ring.get() == std::string(2 << 20, 'z')));
    }
}

/// Tail and head in the second round, with the writers' look at the head from the first.
void fill_into_the_second_round(own_ring& ring) {
    const std::string text((1 << 20) - 8, 'x');
    for (int i = 0; i != 16; ++i) BOOST_REQUIRE((ring.put(text) == outcome::done));
    for (int i = 0; i != 15; ++i) BOOST_REQUIRE(ring.get().has_value());
    for (int i = 0; i != 2; ++i) BOOST_REQUIRE((ring.put(text) == outcome::done));
    for (int i = 0; i != 2; ++i) BOOST_REQUIRE(ring.get().has_value());
}

BOOST_AUTO_TEST_CASE(going_to_the_beginning_needs_no_look_at_the_head_by_a_writer) {
    own_ring ring(16 << 20);
    fill_into_the_second_round(ring);
    ring_layout& layout = ring.layout();
    BOOST_TEST(ring_position(layout.writers.head_seen).round() == 0U);
    const std::uint64_t tail = layout.writers.tail;
    BOOST_REQUIRE(ring.get().has_value());
    BOOST_TEST(ring_position(layout.writers.tail).round() == 2U);
    // As if the reader had died when it had moved the tail.
    BOOST_TEST(ring_position(layout.writers.head_seen).is_at(ring_position(tail)));
    layout.readers.head = layout.readers.tail_seen =
        ring_position(tail).with_tally(~layout.readers.head & 1).word();
    BOOST_TEST((ring.put(std::string(16 << 20, 'y')) == outcome::done));
    BOOST_TEST((ring.get() == std::string(16 << 20, 'y')));
    ring->close();
}

BOOST_AUTO_TEST_CASE(a_deadline_is_kept_while_the_other_side_never_rests) {
    using namespace std::chrono_literals;
    own_ring ring(1 << 16);
    std::atomic<bool> stop{false};
    const std::string small(64, 'x');
    std::jthread writer([&] {
        while (!stop) (void)ring.put(small, std::chrono::steady_clock::now() + 1ms);
    });
    std::jthread reader([&] {
        while (!stop) (void)ring.get(std::chrono::steady_clock::now() + 1ms);
    });
    for (int i = 0; i != 50; ++i) {
        (void)ring.put(std::string(1 << 16, 'y'), std::chrono::steady_clock::now() + 1ms);
    }
    stop = true;
}

BOOST_AUTO_TEST_CASE(more_done_than_put_is_damage) {
    own_ring ring(100);
    ring.layout().readers.done = 7;
    BOOST_CHECK_THROW(ring->join_tasks(wait_for_ever), bulkhead::error);
    BOOST_CHECK_THROW(ring->task_done(), bulkhead::error);
}

BOOST_AUTO_TEST_CASE(what_moved_during_a_loan_is_not_put) {
    own_ring ring(100);
    ring_hold lent;
    BOOST_TEST((ring->lend(10, wait_not_at_all, lent) == outcome::done));
    ring.layout().writers.tail = 16;
    BOOST_CHECK_THROW(ring->put(lent, 10), bulkhead::error);
}

BOOST_AUTO_TEST_CASE(a_damaged_position_is_refused) {
    const auto damaged = [](auto&& damage) {
        own_ring ring(100);
        ring.put("1");
        ring.put("2");
        damage(ring.layout());
        BOOST_CHECK_THROW(ring->close(), bulkhead::error);
        BOOST_CHECK_THROW(ring.put(std::string(60, '3')), bulkhead::error);
        BOOST_CHECK_THROW(ring.get(), bulkhead::error);
    };
    constexpr std::uint64_t round = std::uint64_t{1} << 42;
    const auto head_of = [](ring_layout& layout, std::uint64_t at) {
        layout.readers.head = at;
        layout.writers.head_seen = at;
    };
    damaged([&](ring_layout& layout) { head_of(layout, 112); });
    damaged([&](ring_layout& layout) { head_of(layout, 40); });
    damaged([&](ring_layout& layout) { head_of(layout, round); });
    damaged([&](ring_layout& layout) { head_of(layout, UINT64_MAX - 7); });
    damaged([](ring_layout& layout) { layout.readers.tail_seen = layout.writers.tail = 112; });
    damaged(
        [](ring_layout& layout) { layout.readers.tail_seen = layout.writers.tail = 2 * round; });
}

BOOST_AUTO_TEST_CASE(a_damaged_count_is_refused) {
    for (const int which : {0, 1}) {
        own_ring ring(100);
        ring.put("1");
        ring_layout& layout = ring.layout();
        if (which == 0) layout.writers.put[layout.writers.tail & 1] = UINT64_MAX;
        if (which == 1) layout.readers.got[layout.readers.head & 1] = 99;
        BOOST_CHECK_THROW((void)ring->size(), bulkhead::error);
    }
    own_ring ring(100);
    ring.layout().writers.closed = 2;
    BOOST_CHECK_THROW(ring.put("1"), bulkhead::error);
    BOOST_CHECK_THROW(ring.get(), bulkhead::error);
    BOOST_CHECK_THROW(ring->close(), bulkhead::error);
}

BOOST_AUTO_TEST_CASE(a_damaged_length_is_refused) {
    for (const std::uint64_t length : {std::uint64_t{9}, std::uint64_t{101}, UINT64_MAX}) {
        own_ring ring(100);
        ring.put("12345678");
        std::memcpy(ring.memory() + sizeof(ring_layout), &length, sizeof length);
        BOOST_CHECK_THROW(ring.get(), bulkhead::error);
    }
}

BOOST_AUTO_TEST_CASE(a_damaged_lock_is_refused_and_one_of_nobody_is_not_waited_for) {
    own_ring ring(100);
    std::byte* const locks = ring.memory();
    constexpr std::size_t locks_bytes = 2 * sizeof(robust_mutex);
    std::byte before[locks_bytes];
    std::memcpy(before, locks, locks_bytes);
    std::memset(locks, 0x5a, locks_bytes);
    BOOST_CHECK_THROW(ring.put("x"), bulkhead::error);
    BOOST_CHECK_THROW(ring.get(), bulkhead::error);
    std::memcpy(locks, before, locks_bytes);
    BOOST_TEST((ring.put("x") == outcome::done));
    // A thread id beyond what the kernel gives.
    const std::uint32_t nobody = 0x3ffffff0;
    std::memcpy(locks, &nobody, sizeof nobody);
    std::memcpy(locks + sizeof(robust_mutex), &nobody, sizeof nobody);
    BOOST_CHECK_THROW(ring.put("x", wait_for_ever), bulkhead::error);
    BOOST_CHECK_THROW(ring.get(wait_for_ever), bulkhead::error);
    std::memcpy(locks, before, locks_bytes);
    BOOST_TEST((ring.get() == "x"));
}

BOOST_AUTO_TEST_CASE(a_lock_said_to_be_that_of_a_sleeping_thread_is_not_waited_for) {
    own_ring ring(100);
    ring.put("x");
    std::promise<std::uint32_t> id;
    std::promise<void> stop;
    std::jthread sleeper([&] {
        id.set_value(static_cast<std::uint32_t>(::gettid()));
        stop.get_future().wait();
    });
    const std::uint32_t word = id.get_future().get();
    std::byte before[2 * sizeof(robust_mutex)];
    std::memcpy(before, ring.memory(), sizeof before);
    std::memcpy(ring.memory(), &word, sizeof word);
    std::memcpy(ring.memory() + sizeof(robust_mutex), &word, sizeof word);
    BOOST_CHECK_THROW(ring.put("y", wait_for_ever), bulkhead::error);
    BOOST_CHECK_THROW(ring.get(wait_for_ever), bulkhead::error);
    std::memcpy(ring.memory(), before, sizeof before);
    BOOST_TEST((ring.get() == "x"));
    stop.set_value();
}

BOOST_AUTO_TEST_CASE(random_bytes_are_refused_or_work_and_never_reach_beyond_the_memory) {
    int refused = 0;
    std::mt19937 random(7);
    for (int round = 0; round != 3'000; ++round) {
        own_ring ring(300);
        const auto before = static_cast<unsigned>(random() % 8);
        for (unsigned i = 0; i != before; ++i) ring.put(numbered(random() % 30, i));
        // Behind the locks and the constants.
        const std::size_t from = offsetof(ring_layout, writers);
        const auto count = static_cast<unsigned>(1 + random() % 20);
        for (unsigned i = 0; i != count; ++i) {
            ring.memory()[from + random() % (ring.bytes() - from)] =
                static_cast<std::byte>(random());
        }
        for (unsigned i = 0; i != 10; ++i) {
            try {
                if (random() % 2 == 0) {
                    ring.put(numbered(random() % 301, i));
                } else {
                    (void)ring.get();
                }
            } catch (const bulkhead::error&) {
                ++refused;
            }
        }
    }
    BOOST_TEST(refused > 0);
}

BOOST_AUTO_TEST_CASE(a_view_of_memory_with_another_geometry_is_refused) {
    own_ring ring(100);
    BOOST_CHECK_THROW(byte_ring(ring.memory(), ring.bytes() - 8, "it"), bulkhead::error);
    BOOST_CHECK_THROW(byte_ring(ring.memory(), 10, "it"), bulkhead::error);
    ring.layout().geometry.capacity_bytes = UINT64_MAX;
    BOOST_CHECK_THROW(byte_ring(ring.memory(), ring.bytes(), "it"), bulkhead::error);
}

BOOST_AUTO_TEST_SUITE_END()
