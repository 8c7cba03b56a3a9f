// Tasks by name, in workers that are another program.
#include "support/named.hpp"
#include "support/scene.hpp"

#include <fstream>
#include <set>

namespace {

using namespace test;
using bulkhead::codec_error;
using bulkhead::named_task;
using bulkhead::pool_broken;
using bulkhead::process_pool;
using bulkhead::usage_error;
using bulkhead::worker_crashed;

constexpr named_task<picture(std::string)> decode("decode");
constexpr named_task<int(int)> square_by_name("square");

const std::string worker_program = BULKHEAD_TEST_PROGRAMS "/named_worker";

int cube(int x) { return x * x * x; }

std::string codec_complaint(bulkhead::future<int> f) {
    return error_of<codec_error>(std::move(f)).what();
}

}  // namespace

BULKHEAD_TASK("cube", cube);

BOOST_FIXTURE_TEST_SUITE(named_tasks, scene)

BOOST_AUTO_TEST_CASE(another_program_runs_them) {
    process_pool pool({.workers = 2, .executable = worker_program});
    const picture made = pool.submit(decode, "pixels").get();
    BOOST_TEST(made.width == 6);
    BOOST_TEST(made.pixels.size() == 6U);
    for (int i = 0; i != 1000; ++i) BOOST_TEST(pool.submit(square_by_name, i).get() == i * i);
    for (const pid_t pid : pids_of(pool)) {
        const fs::path runs = fs::read_symlink("/proc/" + std::to_string(pid) + "/exe");
        BOOST_TEST(runs == fs::canonical(worker_program));
    }
}

BOOST_AUTO_TEST_CASE(its_crashes_and_exceptions_arrive_as_those_of_any_task) {
    process_pool pool({.workers = 1, .executable = worker_program});
    BOOST_CHECK_THROW((void)pool.submit(decode, "bad").get(), std::invalid_argument);
    const auto death = error_of<worker_crashed>(pool.submit(decode, "evil"));
    BOOST_TEST(death.status().signal() == SIGSEGV);
    if (!sanitized) BOOST_TEST(contains(death.where(), "decode"), death.what());
    BOOST_TEST(pool.submit(decode, "good").get().width == 4);
}

BOOST_AUTO_TEST_CASE(map_an_initializer_and_stop_tokens_work_with_names) {
    constexpr named_task<void(int)> set_up("set up");
    constexpr named_task<std::string(std::string, std::string)> longest("longest");
    constexpr named_task<int()> set_up_with("set up with");
    constexpr named_task<int(std::stop_token, int)> wait_for_stop("wait for stop");
    process_pool pool({.workers = 2, .initializer = {set_up, 42}, .executable = worker_program});
    int position = 0;
    for (const int y : pool.map(square_by_name, std::views::iota(0, 500))) {
        BOOST_TEST(y == position * position);
        ++position;
    }
    BOOST_TEST(position == 500);
    BOOST_TEST(pool.submit(set_up_with).get() == 42);
    BOOST_TEST(pool.submit(longest, "ab", "a").get() == "ab");
    auto f = pool.submit(wait_for_stop, 7);
    until([&] { return f.running(); });
    (void)f.cancel();
    f.wait();
    BOOST_TEST(f.cancelled());
}

BOOST_AUTO_TEST_CASE(a_name_or_signature_that_is_not_there_is_told) {
    process_pool pool({.workers = 1, .executable = worker_program});
    const auto unknown = codec_complaint(pool.submit(named_task<int(int)>("no such"), 1));
    BOOST_TEST(contains(unknown, "named_worker has no task 'no such'"), unknown);
    const auto other = codec_complaint(pool.submit(named_task<int(double)>("square"), 1));
    BOOST_TEST(contains(other, "'square' of another signature: int (int) is not"), other);
    const auto texts = codec_complaint(pool.submit(named_task<int(int)>("longest"), 1));
    BOOST_TEST(contains(texts, ": std::string (std::string, std::string) is not"), texts);
    const auto several = codec_complaint(pool.submit(named_task<int(int)>("twice"), 1));
    BOOST_TEST(contains(several, "several tasks 'twice'"), several);
    BOOST_TEST(pool.submit(square_by_name, 5).get() == 25);
    BOOST_CHECK_THROW(named_task<int()>(""), usage_error);
    BOOST_CHECK_THROW(named_task<int()>(std::string(64, 'x')), usage_error);
    BOOST_CHECK_THROW(named_task<int()>(std::string_view("a\0b", 3)), usage_error);
}

BOOST_AUTO_TEST_CASE(code_of_this_program_is_not_in_another) {
    process_pool pool({.workers = 1, .executable = worker_program});
    const auto complaint = codec_complaint(pool.submit(square, 3));
    BOOST_TEST(contains(complaint, "BULKHEAD_TASK"), complaint);
    BOOST_TEST(pool.submit(square_by_name, 3).get() == 9);
}

BOOST_AUTO_TEST_CASE(this_program_has_its_own_by_name_too) {
    process_pool pool(1);
    constexpr named_task<int(const int&)> cube_by_name("cube");
    BOOST_TEST(pool.submit(cube_by_name, 3).get() == 27);
    bulkhead::thread_pool threads(1);
    BOOST_CHECK_THROW((void)threads.submit(cube_by_name, 3).get(), usage_error);
}

BOOST_AUTO_TEST_CASE(an_executable_that_will_not_do_is_refused_or_breaks_the_pool_with_the_cause) {
    const auto cause = [](const fs::path& executable) {
        try {
            process_pool pool({.workers = 1, .executable = executable});
            (void)pool.submit(square_by_name, 1).get();
        } catch (const bulkhead::error& e) {
            return std::string(e.what());
        }
        return std::string();
    };
    BOOST_TEST(contains(cause("/no/such/program"), "/no/such/program is no file that can be"));
    BOOST_TEST(contains(cause("/"), "no file that can be executed"));
    BOOST_TEST(contains(cause("/bin/true"), "bulkhead::init"), cause("/bin/true"));
    std::ofstream(file("text")) << "no program";
    BOOST_TEST(contains(cause(file("text")), "no file that can be executed"));
}

BOOST_AUTO_TEST_SUITE_END()
