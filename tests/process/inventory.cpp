// bulkhead ls, stat, rm, clean and the rest, as a shell's user meets them.
#include "support/workplace.hpp"

#include <boost/test/unit_test.hpp>
#include <bulkhead/bulkhead.hpp>

#include <atomic>
#include <string>

namespace {

using test::forked;
using test::workplace;

/// Whether `text` has `part`; says the text if not.
bool has(const std::string& text, const std::string& part) {
    const bool found = text.find(part) != std::string::npos;
    if (!found) BOOST_TEST_MESSAGE("no '" << part << "' in:\n" << text);
    return found;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(inventory, workplace)

BOOST_AUTO_TEST_CASE(ls_shows_each_kind_with_its_owner_and_what_is_in_a_queue) {
    const std::string name = queue_name();
    const auto q = bulkhead::queue<std::string>::create(name);
    q.put("one");
    q.put("two");
    const auto m = bulkhead::mutex::create(name);
    const auto a = bulkhead::shared_array<double>::create(name, 10);
    BOOST_TEST(run("\"$B\" ls $Q > out") == 0);
    const std::string out = read("out");
    BOOST_TEST(has(out, "NAME"));
    for (const char* kind : {"queue", "mutex", "shared_array"}) BOOST_TEST(has(out, kind));
    BOOST_TEST(run("\"$B\" ls | grep -c $Q > count; test \"$(cat count)\" = 3") == 0);

    BOOST_TEST(run("\"$B\" ls --json queue/$Q > out") == 0);
    const std::string json = read("out");
    BOOST_TEST(has(json, "\"messages\":2"));
    BOOST_TEST(has(json, "\"type\":\"std::string\""));
    BOOST_TEST(has(json, "\"attached\":[" + std::to_string(::getpid()) + "]"));
    BOOST_TEST(has(json, "\"dead\":[]"));

    BOOST_TEST(run("\"$B\" stat mutex/$Q > out") == 0);
    BOOST_TEST(has(read("out"), "used by: " + std::to_string(::getpid())));
    BOOST_TEST(bulkhead::queue<std::string>::remove(name));
    BOOST_TEST(bulkhead::mutex::remove(name));
    BOOST_TEST(bulkhead::shared_array<double>::remove(name));
}

BOOST_AUTO_TEST_CASE(stat_names_the_dead_that_a_lock_still_lists) {
    const auto s = bulkhead::semaphore::create(queue_name(), 3);
    const pid_t holder = forked([&] { s.acquire(); });
    BOOST_TEST(test::ended(holder) == 0);
    BOOST_TEST(run("\"$B\" stat $Q > out") == 0);
    BOOST_TEST(has(read("out"), "dead, still listed: " + std::to_string(holder)));
    BOOST_TEST(has(read("out"), "held: 1"));
    BOOST_TEST(bulkhead::semaphore::remove(queue_name()));
}

BOOST_AUTO_TEST_CASE(rm_removes_what_nobody_uses_and_more_only_by_force) {
    {
        const auto m = bulkhead::mutex::create(queue_name());
        BOOST_TEST(run("\"$B\" rm $Q 2> err") == 1);
        BOOST_TEST(has(read("err"), "is used by process " + std::to_string(::getpid())));
        BOOST_TEST(m.try_lock());
        m.unlock();
    }
    BOOST_TEST(run("\"$B\" rm $Q") == 0);
    BOOST_CHECK_THROW((void)bulkhead::mutex::open(queue_name()), bulkhead::error);
    const auto m = bulkhead::mutex::create(queue_name());
    BOOST_TEST(run("\"$B\" rm --force $Q") == 0);
    BOOST_CHECK_THROW((void)bulkhead::mutex::open(queue_name()), bulkhead::error);
    BOOST_TEST(m.try_lock());
    m.unlock();
}

BOOST_AUTO_TEST_CASE(rm_of_a_name_of_several_objects_asks_which) {
    (void)bulkhead::mutex::create(queue_name());
    (void)bulkhead::event::create(queue_name());
    BOOST_TEST(run("\"$B\" rm $Q 2> err") == 1);
    BOOST_TEST(has(read("err"), "event/" + queue_name() + ", mutex/" + queue_name()));
    BOOST_TEST(run("\"$B\" rm event/$Q") == 0);
    BOOST_TEST(run("\"$B\" rm $Q") == 0);
}

BOOST_AUTO_TEST_CASE(clean_removes_what_only_killed_processes_had_and_nothing_of_the_living) {
    // Only what the test has made: others on this machine may be about to use theirs.
    const test::shared<std::atomic<bool>> ready;
    const std::string name = queue_name();
    const pid_t user = forked([&] {
        const auto q = bulkhead::queue<int>::create(name);
        q.put(1);
        *ready = true;
        for (;;) ::pause();
    });
    test::until([&] { return ready->load(); });
    BOOST_TEST(run("\"$B\" clean $Q > out") == 0);
    BOOST_TEST(read("out") == "");
    BOOST_TEST(test::killed(user) == 128 + SIGKILL);
    BOOST_TEST(run("\"$B\" clean --dry-run $Q > out") == 0);
    BOOST_TEST(read("out") == "would remove queue '" + name + "' with 1 messages\n");
    BOOST_TEST(run("\"$B\" clean --json $Q > out") == 0);
    BOOST_TEST(has(read("out"), "\"removed\":[{\"name\":\"" + name + "\""));
    BOOST_TEST(run("\"$B\" ls $Q 2> err") == 1);
    BOOST_TEST(has(read("err"), "there is no object called '" + name + "'"));
}

BOOST_AUTO_TEST_CASE(what_is_used_by_a_process_that_may_not_be_looked_into_is_not_removed) {
    BOOST_TEST(run("'" BULKHEAD_TEST_PROGRAMS "/hidden_user' $Q") == 0);
}

BOOST_AUTO_TEST_CASE(a_name_that_a_terminal_would_obey_is_shown_without_that) {
    const auto m = bulkhead::mutex::create(queue_name() + "\x1b[2J");
    BOOST_TEST(run("\"$B\" ls > out") == 0);
    BOOST_TEST(has(read("out"), queue_name() + "?[2J"));
    bulkhead::mutex::remove(queue_name() + "\x1b[2J");
}

BOOST_AUTO_TEST_CASE(a_damaged_object_is_shown_with_its_trouble_and_can_be_removed) {
    const std::string path =
        "/dev/shm/bulkhead-" + std::to_string(::geteuid()) + "-queue-" + queue_name();
    std::ofstream(path) << std::string(1000, 'x');
    BOOST_TEST(run("\"$B\" stat $Q > out") == 0);
    const std::string trouble = "the memory was not made by Bulkhead, or is damaged";
    BOOST_TEST(has(read("out"), "trouble: " + trouble));
    BOOST_TEST(run("\"$B\" clean $Q > out 2> err") == 0);
    BOOST_TEST(read("out") == "");
    BOOST_TEST(has(read("err"), "kept: " + ("queue '" + queue_name()) +
                                    "' does not tell who uses it: " + trouble));
    BOOST_TEST(run("\"$B\" rm $Q 2> err") == 1);
    BOOST_TEST(has(read("err"), "does not tell who uses it: " + trouble));
    BOOST_TEST(run("\"$B\" rm --force $Q") == 0);
    std::ofstream(path) << "";
    BOOST_TEST(run("\"$B\" ls $Q > out") == 0);
    BOOST_TEST(has(read("out"), "too short"));
    BOOST_TEST(run("\"$B\" rm $Q") == 0);
}

BOOST_AUTO_TEST_CASE(doctor_finds_this_machine_fit_and_top_shows_workers) {
    BOOST_TEST(run("\"$B\" doctor > out") == 0);
    BOOST_TEST(has(read("out"), "ok: workers: a worker starts"));
    BOOST_TEST(run("\"$B\" doctor --json > out") == 0);
    BOOST_TEST(has(read("out"), "\"check\":\"kernel\",\"verdict\":\"ok\""));
    BOOST_TEST(run("'" BULKHEAD_TEST_PROGRAMS "/doomed_parent' idle ready & parent=$!;"
                   "until \"$B\" top -n 1 -i 0.1 > out && grep -q \"^ *$parent .* worker \" out;"
                   "do kill -0 $parent || exit 1; done; kill -9 $parent") == 0);
    BOOST_TEST(has(read("out"), "PARENT"));
}

BOOST_AUTO_TEST_CASE(mistakes_on_the_command_line_have_exit_code_2_and_a_sentence) {
    for (const char* wrong :
         {"", "frobnicate", "rm", "stat", "ls --nonsense", "top -n x", "doctor twice"}) {
        BOOST_TEST_CONTEXT(wrong) {
            BOOST_TEST(run(std::string("\"$B\" ") + wrong + " 2> err > out") == 2);
            BOOST_TEST(has(read("err"), "bulkhead: "));
            BOOST_TEST(read("out") == "");
        }
    }
    BOOST_TEST(run("\"$B\" --help > out && \"$B\" ls --help > out && \"$B\" --version > out") == 0);
    BOOST_TEST(has(read("out"), "bulkhead "));
    BOOST_TEST(run("\"$B\" ls > /dev/full 2> err") == 1);
    BOOST_TEST(has(read("err"), "cannot write to standard output"));
    BOOST_TEST(run("\"$B\" top --version > out && cat out") == 0);
    BOOST_TEST(has(read("out"), "bulkhead "));
}

BOOST_AUTO_TEST_CASE(top_ends_when_nobody_reads_it) {
    BOOST_TEST(run("(\"$B\" top -i 0.01; echo $? > code) | head -n 1 > out") == 0);
    BOOST_TEST(read("code") == "141\n");
    BOOST_TEST(run("(\"$B\" top --json -i 0.01; echo $? > code) | head -n 1 > out") == 0);
    BOOST_TEST(read("code") == "141\n");
    BOOST_TEST(run("\"$B\" top -i 0.01 > /dev/full 2> err") == 1);
}

BOOST_AUTO_TEST_SUITE_END()
