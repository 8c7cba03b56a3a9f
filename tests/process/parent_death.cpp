// What becomes of the workers when their parent is killed or interrupted.
#include "support/program.hpp"
#include "support/scene.hpp"

namespace {

using namespace test;

}  // namespace

BOOST_FIXTURE_TEST_SUITE(parent_death, scene)

BOOST_AUTO_TEST_CASE(killed_parent_takes_all_its_descendants_and_leaves_nothing) {
    for (const char* mode : {"idle", "busy", "process", "nested", "threads"}) {
        BOOST_TEST_CONTEXT(mode) {
            program parent(*this, "doomed_parent", {mode, file(mode)});
            await(file(mode));
            parent.kill();
            owns_names(parent.pid());
            until([&] { return processes_marked(mark()).empty(); });
            BOOST_TEST(shm_names_of(parent.pid()).empty());
        }
    }
}

BOOST_AUTO_TEST_CASE(parent_killed_while_workers_start_leaves_nothing) {
    for (int started = 0; started != 12; ++started) {
        BOOST_TEST_CONTEXT(started << " workers started") {
            const auto ready = file("starting" + std::to_string(started));
            program parent(*this, "doomed_parent", {"starting", ready, std::to_string(started)});
            await(ready);
            parent.kill();
            until([&] { return processes_marked(mark()).empty(); });
            BOOST_TEST(shm_names_of(parent.pid()).empty());
        }
    }
}

BOOST_AUTO_TEST_CASE(interrupt_to_the_foreground_group_is_the_parents_to_decide) {
    program parent(*this, "doomed_parent", {"interrupt", file("ready")});
    await(file("ready"));
    parent.signal_group(SIGINT);
    BOOST_TEST(parent.wait().success());
    BOOST_TEST(parent.out() == "interrupted, and still 49\n");
    BOOST_TEST(parent.err() == "");
    owns_names(parent.pid());
}

BOOST_AUTO_TEST_SUITE_END()
