// How many items of a map() make a batch.
#include <boost/test/unit_test.hpp>
#include <bulkhead/detail/map_batches.hpp>

namespace {

using namespace std::chrono_literals;
using tuner = bulkhead::detail::chunk_tuner;

}  // namespace

BOOST_AUTO_TEST_SUITE(chunk_tuner)

BOOST_AUTO_TEST_CASE(a_given_chunk_size_is_kept) {
    tuner t({.chunk_size = 7}, 2);
    BOOST_TEST(t.batch_size() == 7U);
    t.measured(1ns, 7);
    BOOST_TEST(t.batch_size() == 7U);
    t.measured(1h, 7);
    BOOST_TEST(t.batch_size() == 7U);
    BOOST_TEST(t.lookahead() == 7U * 5);
}

BOOST_AUTO_TEST_CASE(a_given_lookahead_bounds_the_batch_so_that_each_worker_can_have_two) {
    tuner t({.chunk_size = 50, .lookahead_max = 20}, 2);
    BOOST_TEST(t.batch_size() == 5U);
    BOOST_TEST(t.lookahead() == 20U);
    BOOST_TEST(tuner({.chunk_size = 50, .lookahead_max = 3}, 8).batch_size() == 1U);
    BOOST_TEST(tuner({.chunk_size = 50, .lookahead_max = 200}, 2).batch_size() == 50U);
    tuner chosen({.lookahead_max = 10}, 2);
    for (int i = 0; i != 20; ++i) chosen.measured(1ns, 1);
    BOOST_TEST(chosen.batch_size() >= 1U);
    BOOST_TEST(chosen.batch_size() <= 10U);
    BOOST_TEST(chosen.lookahead() == 10U);
}

BOOST_AUTO_TEST_CASE(the_first_batch_is_one_item_and_short_tasks_make_it_grow_to_a_bound) {
    tuner t({}, 2);
    BOOST_TEST(t.batch_size() == 1U);
    std::size_t last = 1;
    for (int i = 0; i != 20; ++i) {
        t.measured(std::chrono::nanoseconds(static_cast<std::int64_t>(t.batch_size())),
                   t.batch_size());
        BOOST_TEST(t.batch_size() >= last);
        BOOST_TEST(t.batch_size() <= last * 8);
        last = t.batch_size();
    }
    BOOST_TEST(last == 4096U);
}

BOOST_AUTO_TEST_CASE(a_batch_of_flat_items_may_hold_more) {
    tuner t({}, 2);
    t.is_flat();
    for (int i = 0; i != 20; ++i) t.measured(1ns, 1);
    BOOST_TEST(t.batch_size() == 8192U);
    BOOST_TEST(t.lookahead() == 8192U * 5);
}

BOOST_AUTO_TEST_CASE(long_tasks_travel_alone) {
    tuner t({}, 2);
    for (int i = 0; i != 10; ++i) t.measured(1ns, 1);
    t.measured(1s, 1);
    BOOST_TEST(t.batch_size() == 1U);
    t.measured(0ns, 0);  // nothing was measured
    BOOST_TEST(t.batch_size() == 1U);
}

BOOST_AUTO_TEST_SUITE_END()
