// Trouble while arguments and results are turned into bytes and back.
#include "support/fragile.hpp"

namespace {

using namespace test;
using bulkhead::process_pool;
using bulkhead::task_phase;
using bulkhead::worker_crashed;

fragile give(trouble what) { return large(what); }
std::size_t size_of(const fragile& value) {
    return is_whole(value) ? value.first_half.size() + value.second_half.size() : 0;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(crash_in_codec, scene)

BOOST_AUTO_TEST_CASE(arguments_that_do_not_encode_fail_their_future_and_cost_no_worker) {
    process_pool pool(1);
    const pid_t before = pool.submit(whoami).get();
    const auto e = error_of<std::domain_error>(pool.submit(size_of, large(trouble::encode_throws)));
    BOOST_TEST(e.what() == "encode failed");
    BOOST_TEST(pool.submit(whoami).get() == before);
    BOOST_TEST(pool.submit(size_of, large(trouble::none)).get() == 10'000'000U);
}

BOOST_AUTO_TEST_CASE(a_throwing_callback_is_reported_also_of_a_task_that_does_not_encode) {
    std::string reported;  // by this thread: the task has ended already
    process_pool pool({.workers = 1, .on_event = [&](const bulkhead::pool_event& e) {
                           if (e.what == bulkhead::pool_event::kind::callback_failed) {
                               reported = e.task_name + ": " + e.message;
                           }
                       }});
    const fragile refused = large(trouble::encode_throws);
    auto f = pool.submit(bulkhead::task_options{.name = "refused"}, size_of, refused);
    f.on_done([] { throw std::runtime_error("in a callback"); });
    BOOST_TEST(contains(reported, "refused: "));
    BOOST_TEST(contains(reported, "in a callback"));
    BOOST_CHECK_THROW((void)f.get(), std::domain_error);
}

BOOST_AUTO_TEST_CASE(arguments_that_do_not_decode_fail_in_phase_decode) {
    process_pool pool(1);
    const pid_t before = pool.submit(whoami).get();
    const auto thrown =
        error_of<std::range_error>(pool.submit(size_of, large(trouble::decode_throws)));
    BOOST_TEST(thrown.what() == "decode failed");
    BOOST_TEST(pool.submit(whoami).get() == before);

    const auto e = error_of<worker_crashed>(pool.submit(size_of, large(trouble::decode_crashes)));
    BOOST_TEST((e.phase() == task_phase::decode));
    BOOST_TEST(e.status().signal() == SIGABRT);
    BOOST_TEST(contains(e.what(), "decoding"));
    BOOST_TEST(pool.submit(whoami).get() != before);
}

BOOST_AUTO_TEST_CASE(a_result_half_written_fails_in_phase_encode_and_is_never_torn) {
    process_pool pool(1);
    const pid_t before = pool.submit(whoami).get();
    const auto thrown = error_of<std::domain_error>(pool.submit(give, trouble::encode_throws));
    BOOST_TEST(thrown.what() == "encode failed");
    BOOST_TEST(pool.submit(whoami).get() == before);

    const auto e = error_of<worker_crashed>(pool.submit(give, trouble::encode_crashes));
    BOOST_TEST((e.phase() == task_phase::encode));
    BOOST_TEST(contains(e.what(), "encoding"));
    BOOST_TEST(is_whole(pool.submit(give, trouble::none).get()));
}

BOOST_AUTO_TEST_CASE(a_result_that_does_not_decode_here_fails_that_future_only) {
    process_pool pool(1);
    const pid_t before = pool.submit(whoami).get();
    auto bad = pool.submit(give, trouble::decode_throws);
    auto good = pool.submit(give, trouble::none);
    BOOST_TEST(error_of<std::range_error>(std::move(bad)).what() == "decode failed");
    BOOST_TEST(is_whole(good.get()));
    BOOST_TEST(pool.submit(whoami).get() == before);
}

BOOST_AUTO_TEST_CASE(worker_killed_while_its_arguments_are_half_written_loses_no_task) {
    process_pool pool(1);
    const pid_t victim = pool.submit(whoami).get();
    // The encoder kills the pool's only worker in the middle of the arguments.
    auto f = pool.submit(size_of, large(trouble::encode_kills, victim));
    BOOST_TEST(f.get() == 10'000'000U);
    BOOST_TEST(pool.submit(whoami).get() != victim);
}

BOOST_AUTO_TEST_SUITE_END()
