#include "os/fd_channel.hpp"

#include <boost/test/unit_test.hpp>

namespace {

using namespace bulkhead::os;

BOOST_AUTO_TEST_SUITE(fd_channel)

BOOST_AUTO_TEST_CASE(what_a_peer_sent_before_it_ended_arrives_though_it_had_not_received_all) {
    for (const bool peek : {true, false}) {
        auto [here, there] = make_lifeline();
        const int passed[] = {0};
        BOOST_TEST((send_fds(here.get(), passed, 7, false) == send_result::sent));
        BOOST_TEST((send_fds(there.get(), passed, 8, false) == send_result::sent));
        there.reset();
        if (peek) BOOST_TEST((next_tag(here.get()) == 8U));
        const auto got = receive_fds(here.get());
        BOOST_REQUIRE(got.has_value());
        BOOST_TEST(got->tag == 8U);
        BOOST_TEST(got->fds.size() == 1U);
        BOOST_TEST(!receive_fds(here.get()).has_value());
    }
}

BOOST_AUTO_TEST_SUITE_END()

}  // namespace
