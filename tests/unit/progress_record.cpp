// The record through which a parent sees how far a task is: whole or not at all.
#include "channel/progress_record.hpp"

#include <boost/test/unit_test.hpp>

#include <thread>

namespace {

using bulkhead::task_progress;
using slot_record = bulkhead::channel::progress_record;

}  // namespace

BOOST_AUTO_TEST_SUITE(progress_record)

BOOST_AUTO_TEST_CASE(a_record_tells_the_last_report_of_its_ticket_and_of_no_other) {
    slot_record record{};
    BOOST_CHECK(!record.read(1));
    record.write(1, {.done = 3, .total = 10});
    record.write(1, {.done = 4, .total = 10});
    BOOST_CHECK(record.read(1) == (task_progress{.done = 4, .total = 10}));
    BOOST_CHECK(!record.read(2));
    record.write(257, {.done = 1, .total = 2});
    BOOST_CHECK(!record.read(1));
    BOOST_CHECK(record.read(257) == (task_progress{.done = 1, .total = 2}));
}

BOOST_AUTO_TEST_CASE(a_writer_that_dies_amid_a_change_leaves_nothing_and_the_next_write_is_whole) {
    slot_record record{};
    record.write(1, {.done = 3, .total = 10});
    record.version = record.version | 1;  // as after the first step of a write
    record.done = 77;
    BOOST_CHECK(!record.read(1));
    record.write(1, {.done = 5, .total = 10});
    BOOST_CHECK(record.read(1) == (task_progress{.done = 5, .total = 10}));
}

BOOST_AUTO_TEST_CASE(a_reader_never_sees_parts_of_two_reports) {
    slot_record record{};
    constexpr std::uint64_t reports = 200'000;
    std::atomic<bool> done{false};
    std::thread writer([&] {
        for (std::uint64_t i = 1; i <= reports; ++i) record.write(i % 4, {i, 3 * i});
        done = true;
    });
    std::uint64_t torn = 0;
    while (!done) {
        for (std::uint64_t ticket = 0; ticket != 4; ++ticket) {
            const auto seen = record.read(ticket);
            if (seen && (seen->total != 3 * seen->done || seen->done % 4 != ticket)) ++torn;
        }
    }
    writer.join();
    BOOST_TEST(torn == 0U);
}

BOOST_AUTO_TEST_CASE(a_fraction_is_between_0_and_1_whatever_was_said) {
    BOOST_TEST((task_progress{}.fraction()) == 0.0);
    BOOST_TEST((task_progress{5, 0}.fraction()) == 0.0);
    BOOST_TEST((task_progress{5, 10}.fraction()) == 0.5);
    BOOST_TEST((task_progress{15, 10}.fraction()) == 1.0);
}

BOOST_AUTO_TEST_SUITE_END()
