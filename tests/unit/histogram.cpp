// Percentiles beside those of the sorted values.
#include <bulkhead/error.hpp>
#include <bulkhead/histogram.hpp>

#include "support/forked.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <cmath>
#include <vector>

namespace {

using namespace std::chrono_literals;
using durations = bulkhead::histogram;
using ns = std::chrono::nanoseconds;

}  // namespace

BOOST_AUTO_TEST_SUITE(histogram)

BOOST_AUTO_TEST_CASE(an_empty_one_knows_nothing) {
    const durations none;
    BOOST_TEST(none.count() == 0U);
    BOOST_TEST((none.percentile(50) == 0ns));
    BOOST_TEST((none.mean() == 0ns));
    BOOST_CHECK_THROW((void)none.percentile(-1), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)none.percentile(100.5), bulkhead::usage_error);
    BOOST_CHECK_THROW((void)none.percentile(std::nan("")), bulkhead::usage_error);
}

BOOST_AUTO_TEST_CASE(percentiles_are_at_most_a_sixteenth_above_the_true_ones) {
    test::random_numbers random;
    for (int round = 0; round != 50; ++round) {
        durations h;
        std::vector<std::int64_t> values;
        const auto count = 1 + random(2000);
        for (unsigned i = 0; i != count; ++i) {
            const auto value =
                static_cast<std::int64_t>(std::exp2(static_cast<double>(random(4000)) / 100.0));
            values.push_back(value);
            h.add(ns(value));
        }
        std::sort(values.begin(), values.end());
        BOOST_TEST(h.count() == values.size());
        BOOST_TEST(h.min().count() == values.front());
        BOOST_TEST(h.max().count() == values.back());
        for (const double percent : {0.0, 1.0, 25.0, 50.0, 90.0, 99.0, 99.9, 100.0}) {
            const auto rank = std::max<std::size_t>(
                1, static_cast<std::size_t>(
                       std::ceil(percent / 100 * static_cast<double>(values.size()))));
            const auto truth = values[rank - 1];
            const auto got = h.percentile(percent).count();
            BOOST_TEST(got >= truth);
            BOOST_TEST(static_cast<double>(got) <= static_cast<double>(truth) * 1.0625 + 1);
        }
    }
}

BOOST_AUTO_TEST_CASE(extremes_are_kept) {
    durations h;
    h.add(-5ns);
    h.add(ns::max());
    h.add(0ns);
    BOOST_TEST((h.min() == 0ns));
    BOOST_TEST((h.max() == ns::max()));
    BOOST_TEST((h.percentile(100) == ns::max()));
    BOOST_TEST((h.percentile(10) == 0ns));
}

BOOST_AUTO_TEST_CASE(two_merged_are_as_one) {
    durations a;
    durations b;
    durations both;
    for (int i = 1; i != 1000; ++i) {
        (i % 3 == 0 ? a : b).add(ns(i * i));
        both.add(ns(i * i));
    }
    a.merge(b);
    a.merge({});
    BOOST_TEST(a.count() == both.count());
    for (const double percent : {0.0, 10.0, 50.0, 99.0, 100.0}) {
        BOOST_TEST(a.percentile(percent).count() == both.percentile(percent).count());
    }
    BOOST_TEST(a.mean().count() == both.mean().count());
}

BOOST_AUTO_TEST_SUITE_END()
