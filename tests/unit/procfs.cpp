// What the kernel tells of processes, also of those that are just becoming another program.
#include <boost/test/unit_test.hpp>

#include "os/procfs.hpp"

#include <unistd.h>

BOOST_AUTO_TEST_SUITE(procfs)

BOOST_AUTO_TEST_CASE(this_process_has_code_and_an_environment) {
    const auto stat = bulkhead::os::stat_of(::getpid());
    BOOST_REQUIRE(stat);
    BOOST_TEST(stat->state == 'R');
    BOOST_TEST(stat->code_begin > 1U);
    BOOST_TEST(stat->environment_begin < stat->environment_end);
    BOOST_TEST(!bulkhead::os::has_empty_environment(*stat));
}

BOOST_AUTO_TEST_CASE(who_is_between_two_programs_has_no_empty_environment_but_none_yet) {
    bulkhead::os::process_stat stat{};
    BOOST_TEST(!bulkhead::os::has_empty_environment(stat));
    stat.environment_begin = stat.environment_end = 0x7ffd0000;  // about to be laid out
    BOOST_TEST(!bulkhead::os::has_empty_environment(stat));
    stat.code_begin = 0x400000;
    BOOST_TEST(bulkhead::os::has_empty_environment(stat));
    stat.environment_end += 100;
    BOOST_TEST(!bulkhead::os::has_empty_environment(stat));
}

BOOST_AUTO_TEST_SUITE_END()
