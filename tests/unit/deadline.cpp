// Times and durations of any unit, as deadlines.
#include <bulkhead/detail/deadline.hpp>

#include <boost/test/unit_test.hpp>

#include <limits>

namespace {

using namespace std::chrono;
using namespace bulkhead::detail;

/// Neither end, and about `left` from now: seconds since an epoch have a rounding error in a double.
void check_left(deadline until, seconds left) {
    const auto there = until - steady_clock::now();
    BOOST_TEST((there <= left + 1us));
    BOOST_TEST((there > left - 1h));
}

template <class Clock, class Duration>
void check_ends() {
    using time = time_point<Clock, Duration>;
    BOOST_TEST((deadline_at(time::max()) == wait_for_ever));
    BOOST_TEST((deadline_at(time::min()) == wait_not_at_all));
}

}  // namespace

BOOST_AUTO_TEST_SUITE(deadline)

BOOST_AUTO_TEST_CASE(
    the_first_and_the_last_time_of_any_clock_and_unit_are_not_at_all_and_for_ever) {
    check_ends<steady_clock, nanoseconds>();
    check_ends<steady_clock, seconds>();
    check_ends<steady_clock, hours>();
    check_ends<steady_clock, duration<double>>();
    check_ends<system_clock, nanoseconds>();
    check_ends<system_clock, microseconds>();
    check_ends<system_clock, seconds>();
    check_ends<system_clock, hours>();
    check_ends<system_clock, duration<float>>();
}

BOOST_AUTO_TEST_CASE(a_time_of_another_clock_is_as_far_away_as_it_is_there) {
    check_left(deadline_at(system_clock::now() + 24h), 24h);
    check_left(deadline_at(ceil<hours>(system_clock::now()) + 24h), 25h);
    check_left(deadline_at(steady_clock::now() + hours(24 * 365 * 50)), hours(24 * 365 * 50));
    const auto when = steady_clock::now() + 10s;
    BOOST_TEST((deadline_at(when) >= when));
    BOOST_TEST((deadline_at(system_clock::now() - 1ns) == wait_not_at_all));
    BOOST_TEST((deadline_at(system_clock::time_point()) == wait_not_at_all));
}

BOOST_AUTO_TEST_CASE(durations_of_any_representation_are_bounded) {
    BOOST_TEST((deadline_after(hours::max()) == wait_for_ever));
    BOOST_TEST((deadline_after(nanoseconds::max()) == wait_for_ever));
    BOOST_TEST((deadline_after(duration<double>(1e300)) == wait_for_ever));
    BOOST_TEST((deadline_after(hours::min()) == wait_not_at_all));
    BOOST_TEST((deadline_after(0s) == wait_not_at_all));
    BOOST_TEST((deadline_after(duration<double>(std::numeric_limits<double>::quiet_NaN())) ==
                wait_not_at_all));
}

BOOST_AUTO_TEST_SUITE_END()
