// Boost.Test's main for the tests that start no processes.
#define BOOST_TEST_MODULE bulkhead_unit_tests
#include <boost/test/unit_test.hpp>
