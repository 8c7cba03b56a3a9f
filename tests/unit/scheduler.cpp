// fsm::scheduler, to the last transition; then all of them at random against a model.
#include "fsm/scheduler.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <deque>
#include <map>
#include <memory>
#include <random>
#include <set>
#include <vector>

namespace {

using namespace bulkhead::fsm;

struct bench {
    explicit bench(std::size_t workers, const limits& rules = {}) : s(workers, rules) {}

    task_node& submit(std::int32_t priority = 0, std::uint32_t retries = 0) {
        tasks.push_back(std::make_unique<task_node>());
        auto& task = *tasks.back();
        task.id = tasks.size();
        task.priority = priority;
        task.retries_left = retries;
        s.submitted(task);
        return task;
    }
    void up(worker_index worker) {
        s.starting(worker);
        s.ready(worker);
    }
    /// The ids and workers of all that is handed out now.
    std::vector<std::pair<std::uint64_t, worker_index>> hand_out() {
        std::vector<std::pair<std::uint64_t, worker_index>> all;
        while (const auto out = s.next()) all.emplace_back(out->task->id, out->worker);
        return all;
    }
    std::vector<std::uint64_t> ledger(worker_index worker) const {
        std::vector<std::uint64_t> ids;
        for (auto* at = s.ledger(worker).front(); at != nullptr; at = at->next)
            ids.push_back(at->id);
        return ids;
    }
    /// Lets the worker finish a task of this run time, so that its window is known.
    void measure(worker_index worker, std::uint64_t run_ns) {
        for (int i = 0; i != 40; ++i) {
            auto& task = submit();
            const auto out = s.next();
            BOOST_REQUIRE((out && out->task == &task));
            BOOST_REQUIRE(out->worker == worker);
            s.finished(task, run_ns);
        }
    }
    /// Two workers that are up and have been measured, one after the other.
    void two_measured(std::uint64_t run_ns) {
        up(0);
        measure(0, run_ns);
        s.suspend(0, true);
        up(1);
        measure(1, run_ns);
        s.suspend(0, false);
    }
    void finish_first(worker_index worker, std::uint64_t run_ns) {
        s.finished(*s.ledger(worker).front(), run_ns);
    }

    std::vector<std::unique_ptr<task_node>> tasks;
    bulkhead::fsm::scheduler s;
};

using handed = std::vector<std::pair<std::uint64_t, worker_index>>;
using ids = std::vector<std::uint64_t>;

}  // namespace

BOOST_AUTO_TEST_SUITE(scheduler)

BOOST_AUTO_TEST_CASE(nothing_is_handed_out_without_a_task_or_a_ready_worker) {
    bench b(2);
    BOOST_TEST(!b.s.next().has_value());
    auto& task = b.submit();
    BOOST_TEST(!b.s.next().has_value());
    b.s.starting(0);
    BOOST_TEST(!b.s.next().has_value());
    BOOST_TEST((b.s.first_waiting() == &task));
    b.s.ready(0);
    BOOST_TEST((b.hand_out() == handed{{1, 0}}));
    BOOST_TEST(b.s.waiting() == 0U);
    BOOST_TEST(b.s.handed() == 1U);
    BOOST_TEST((b.s.first_waiting() == nullptr));
    BOOST_TEST((task.step == task_step::handed));
    BOOST_TEST(task.worker == 0U);
}

BOOST_AUTO_TEST_CASE(idle_workers_come_first_and_in_turn) {
    bench b(3);
    for (worker_index i = 0; i != 3; ++i) b.up(i);
    for (int i = 0; i != 5; ++i) b.submit();
    // Nothing is measured, so each gets one.
    BOOST_TEST((b.hand_out() == handed{{1, 0}, {2, 1}, {3, 2}}));
    b.s.finished(*b.tasks[1], long_task_ns);
    BOOST_TEST((b.hand_out() == handed{{4, 1}}));
    b.s.finished(*b.tasks[0], long_task_ns);
    BOOST_TEST((b.hand_out() == handed{{5, 0}}));
}

BOOST_AUTO_TEST_CASE(where_no_worker_is_without_short_tasks_go_out_in_runs_and_others_by_turns) {
    const auto runs_of = [](std::uint64_t run_ns, std::size_t tasks) {
        bench b(2);
        b.two_measured(run_ns);
        for (std::size_t i = 0; i != tasks; ++i) b.submit();
        const auto all = b.hand_out();
        BOOST_REQUIRE(all.size() == tasks);
        std::vector<std::size_t> runs;
        for (std::size_t i = 0; i != tasks; ++i) {
            if (i != 0 && all[i].second == all[i - 1].second) {
                ++runs.back();
            } else {
                runs.push_back(1);
            }
        }
        return runs;
    };
    const auto expected = [](std::size_t run) {
        return std::vector<std::size_t>{1, run, run, run};  // the first: both had nothing
    };
    BOOST_TEST((runs_of(100, 1 + 3 * in_a_row_max) == expected(in_a_row_max)));
    BOOST_TEST((runs_of(in_a_row_ns / 2, 7) == expected(2)));
    BOOST_TEST((runs_of(in_a_row_ns / 2 + 1, 4) == expected(1)));
}

BOOST_AUTO_TEST_CASE(bursts_do_not_pile_up_at_one_worker_while_another_is_soon_through) {
    bench b(2);
    b.two_measured(100);
    for (int burst = 0; burst != 100; ++burst) {
        for (int i = 0; i != 10; ++i) b.submit();
        (void)b.hand_out();
        for (const worker_index at : {0U, 1U}) {
            if (!b.ledger(at).empty()) b.finish_first(at, 100);
        }
        const auto longer = std::max(b.ledger(0).size(), b.ledger(1).size());
        const auto shorter = std::min(b.ledger(0).size(), b.ledger(1).size());
        BOOST_TEST(longer - shorter <= in_a_row_max);
        b.submit();
    }
}

BOOST_AUTO_TEST_CASE(what_is_taken_back_for_a_worker_without_work_goes_to_that) {
    bench b(2);
    b.two_measured(100);
    b.s.suspend(1, true);
    for (int i = 0; i != 33; ++i) b.submit();
    (void)b.hand_out();
    BOOST_REQUIRE(b.ledger(0).size() == 33);
    b.s.suspend(1, false);
    BOOST_REQUIRE(b.s.overloaded() == 0U);
    for (int i = 0; i != 16; ++i) {
        const auto last = b.ledger(0).back();
        b.s.returned(*b.tasks[last - 1]);
    }
    (void)b.hand_out();
    BOOST_TEST(b.ledger(0).size() == 17U);
    BOOST_TEST(b.ledger(1).size() == 16U);
}

BOOST_AUTO_TEST_CASE(a_worker_that_is_through_comes_first_whoever_is_at_its_turn) {
    for (std::size_t tasks = 3; tasks != 3 * in_a_row_max; ++tasks) {
        bench b(2);
        b.two_measured(100);
        for (std::size_t i = 0; i != tasks; ++i) b.submit();
        const worker_index through = tasks % 2;
        (void)b.hand_out();
        while (!b.ledger(through).empty()) b.finish_first(through, 100);
        b.submit();
        BOOST_TEST((b.hand_out() == handed{{b.tasks.size(), through}}));
    }
}

BOOST_AUTO_TEST_CASE(higher_priority_is_handed_out_first_and_equals_in_order) {
    bench b(1);
    b.submit(0);
    b.submit(-3);
    b.submit(5);
    b.submit(0);
    b.submit(5);
    b.up(0);
    ids order;
    while (const auto out = b.s.next()) {
        order.push_back(out->task->id);
        b.s.finished(*out->task, long_task_ns);
    }
    BOOST_TEST((order == ids{3, 5, 1, 4, 2}));
}

BOOST_AUTO_TEST_CASE(window_follows_the_measured_run_time) {
    const auto window_after = [](std::uint64_t run_ns) {
        bench b(1);
        b.up(0);
        if (run_ns != 0) b.measure(0, run_ns);
        for (std::size_t i = 0; i != 2 * window_max; ++i) b.submit();
        return b.hand_out().size();
    };
    BOOST_TEST(window_after(0) == 1U);  // nothing measured yet
    BOOST_TEST(window_after(1) == window_max);
    BOOST_TEST(window_after(1'000) == window_max);
    BOOST_TEST(window_after(4'000) == 100U);
    BOOST_TEST(window_after(40'000) == 10U);
    BOOST_TEST(window_after(window_ns) == 2U);
    BOOST_TEST(window_after(long_task_ns - 1) == 2U);
    BOOST_TEST(window_after(long_task_ns) == 1U);
    BOOST_TEST(window_after(UINT64_MAX) == 1U);
}

BOOST_AUTO_TEST_CASE(nothing_is_put_behind_a_task_that_others_have_overtaken) {
    bench b(2);
    b.two_measured(100'000);  // a window of 4
    b.s.suspend(0, true);
    auto& slow = b.submit();
    BOOST_REQUIRE((b.hand_out() == handed{{slow.id, 1}}));
    b.s.suspend(0, false);
    for (int i = 0; i != 7; ++i) b.submit();
    b.hand_out();
    BOOST_TEST(b.s.ledger(0).size() == 4U);
    BOOST_TEST(b.s.ledger(1).size() == 4U);
    for (std::uint64_t i = 0; i != 2 * overtaken_max; ++i) {
        b.submit();
        b.hand_out();
        b.finish_first(0, 100'000);
    }
    b.s.returned(*b.s.ledger(1).back());
    b.s.returned(*b.s.ledger(0).back());
    b.hand_out();
    BOOST_TEST(b.s.ledger(1).size() == 4U);
    // The next one is too many.
    b.submit();
    b.hand_out();
    b.finish_first(0, 100'000);
    while (b.s.ledger(1).size() != 1) b.s.returned(*b.s.ledger(1).back());
    for (int i = 0; i != 20; ++i) b.submit();
    b.hand_out();
    BOOST_TEST(b.s.ledger(0).size() == 4U);
    BOOST_TEST(b.s.ledger(1).size() == 1U);
    // Its next task has not been overtaken by anything.
    b.finish_first(1, 100'000);
    b.hand_out();
    BOOST_TEST(b.s.ledger(1).size() == 4U);
}

BOOST_AUTO_TEST_CASE(tasks_that_finish_in_one_batch_overtake_nothing) {
    bench b(2);
    b.two_measured(10'000);  // a window of 40
    for (int i = 0; i != 200; ++i) b.submit();
    for (int round = 0; round != 3; ++round) {
        b.hand_out();
        BOOST_TEST(b.s.ledger(0).size() == 40U);
        BOOST_TEST(b.s.ledger(1).size() == 40U);
        for (const worker_index worker : {0U, 1U}) {
            for (int i = 0; i != 20; ++i) b.finish_first(worker, 10'000);
        }
    }
}

BOOST_AUTO_TEST_CASE(a_worker_without_work_is_not_taken_for_a_slow_one) {
    bench b(2);
    b.two_measured(100'000);
    b.s.suspend(1, true);
    for (int i = 0; i != 100; ++i) {
        b.submit();
        b.hand_out();
        b.finish_first(0, 100'000);
    }
    b.s.suspend(1, false);
    for (int i = 0; i != 8; ++i) b.submit();
    b.hand_out();
    BOOST_TEST(b.s.ledger(1).size() == 4U);
}

BOOST_AUTO_TEST_CASE(nothing_is_put_behind_a_task_that_is_known_to_be_long) {
    bench b(1);
    b.up(0);
    b.measure(0, 100'000);
    auto& slow = b.submit();
    b.hand_out();
    b.s.at_long_task(0);
    for (int i = 0; i != 10; ++i) b.submit();
    BOOST_TEST(b.hand_out().empty());
    // One that is taken back takes what was known of it along, and another becomes the first.
    b.s.returned(slow);
    BOOST_TEST(b.hand_out().size() == 4U);
    BOOST_TEST(b.s.ledger(0).front() == &slow);
}

BOOST_AUTO_TEST_CASE(a_new_process_is_measured_anew) {
    bench b(1);
    b.up(0);
    b.measure(0, 1'000);
    BOOST_TEST((b.s.died(0, true, true) == after_death::restart));
    b.up(0);
    for (int i = 0; i != 5; ++i) b.submit();
    BOOST_TEST(b.hand_out().size() == 1U);
}

BOOST_AUTO_TEST_CASE(tasks_taken_back_wait_before_their_equals_in_their_old_order) {
    bench b(1);
    b.up(0);
    b.measure(0, 1'000);
    const std::size_t first = b.tasks.size();
    for (int i = 0; i != 4; ++i) b.submit();
    (void)b.hand_out();
    b.submit();  // handed out too: the window has room
    (void)b.hand_out();
    const auto in_worker = b.ledger(0);
    for (auto id = in_worker.rbegin(); id != in_worker.rend(); ++id) {
        b.s.returned(*b.tasks[*id - 1]);
    }
    BOOST_TEST(b.s.handed() == 0U);
    BOOST_TEST(b.s.waiting() == 5U);
    BOOST_TEST(b.s.first_waiting()->id == first + 1);
    BOOST_TEST((b.s.first_waiting()->step == task_step::waiting));
    BOOST_TEST((b.s.first_waiting()->worker == no_worker));
    (void)b.hand_out();
    BOOST_TEST((b.ledger(0) == in_worker));
}

BOOST_AUTO_TEST_CASE(a_crashed_task_is_gone_or_waits_again_while_it_has_retries) {
    bench b(1);
    b.up(0);
    auto& task = b.submit(0, 2);
    auto& other = b.submit();
    for (int run = 0; run != 3; ++run) {
        const auto out = b.s.next();
        BOOST_REQUIRE((out && out->task == &task));  // before its equals
        const bool again = b.s.crashed(task);
        BOOST_TEST(again == (run < 2));
    }
    BOOST_TEST((task.step == task_step::gone));
    BOOST_TEST(b.s.handed() == 0U);
    BOOST_TEST((b.s.first_waiting() == &other));
}

BOOST_AUTO_TEST_CASE(removed_takes_a_task_from_wherever_it_is) {
    bench b(1);
    b.up(0);
    auto& first = b.submit();
    auto& second = b.submit();
    (void)b.hand_out();
    b.s.removed(second);
    BOOST_TEST(b.s.waiting() == 0U);
    BOOST_TEST((second.step == task_step::gone));
    b.s.removed(first);
    BOOST_TEST(b.s.handed() == 0U);
    BOOST_TEST(b.s.ledger(0).empty());
    b.s.removed(first);  // gone already
    BOOST_TEST(b.s.handed() == 0U);
    b.submit();
    BOOST_TEST(b.hand_out().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_condemned_worker_gets_nothing_more) {
    bench b(2);
    b.up(0);
    b.up(1);
    auto& task = b.submit();
    (void)b.hand_out();
    b.s.condemn(0);
    BOOST_TEST((b.s.step(0) == worker_step::condemned));
    for (int i = 0; i != 3; ++i) b.submit();
    BOOST_TEST((b.hand_out() == handed{{2, 1}}));
    b.s.removed(task);
    BOOST_TEST(b.hand_out().empty());
    BOOST_TEST((b.s.died(0, true, true) == after_death::restart));
    BOOST_TEST((b.s.step(0) == worker_step::absent));
    BOOST_TEST(b.hand_out().empty());
    b.up(0);
    BOOST_TEST((b.hand_out() == handed{{3, 0}}));
}

BOOST_AUTO_TEST_CASE(crash_limit_counts_deaths_with_no_task_finished_between) {
    bench b(1, {.crash_limit = 3});
    const auto death = [&] {
        b.up(0);
        return b.s.died(0, true, false);
    };
    BOOST_TEST((death() == after_death::restart));
    BOOST_TEST((death() == after_death::restart));
    b.up(0);
    auto& task = b.submit();
    (void)b.hand_out();
    b.s.finished(task, 1);
    BOOST_TEST((b.s.died(0, true, false) == after_death::restart));
    BOOST_TEST((death() == after_death::restart));
    BOOST_TEST((death() == after_death::give_up));
}

BOOST_AUTO_TEST_CASE(without_a_crash_limit_deaths_in_tasks_go_on_for_ever) {
    bench b(1);
    for (int i = 0; i != 10'000; ++i) {
        b.up(0);
        BOOST_REQUIRE((b.s.died(0, true, false) == after_death::restart));
    }
}

BOOST_AUTO_TEST_CASE(expected_deaths_count_for_nothing) {
    bench b(1, {.crash_limit = 1, .start_failures_max = 1});
    for (int i = 0; i != 100; ++i) {
        b.up(0);
        b.s.condemn(0);
        BOOST_REQUIRE((b.s.died(0, i % 2 == 0, true) == after_death::restart));
    }
    BOOST_TEST(b.s.back_off(0) == 0U);
}

BOOST_AUTO_TEST_CASE(failed_starts_in_a_row_break_the_pool_whether_no_process_came_or_it_died) {
    bench b(2, {.start_failures_max = 4});
    b.s.starting(0);
    BOOST_TEST((b.s.start_failed(0) == after_death::restart));
    BOOST_TEST((b.s.step(0) == worker_step::absent));
    b.up(1);
    BOOST_TEST((b.s.died(1, false, false) == after_death::restart));
    BOOST_TEST(b.s.back_off(0) == 2U);
    BOOST_TEST(b.s.back_off(1) == 2U);
    // One that came up ends the row.
    b.up(1);
    BOOST_TEST((b.s.died(1, true, false) == after_death::restart));
    BOOST_TEST(b.s.back_off(1) == 0U);
    for (unsigned i = 1; i != 4; ++i) {
        b.s.starting(0);
        BOOST_TEST((b.s.start_failed(0) == after_death::restart));
    }
    b.up(1);
    BOOST_TEST((b.s.died(1, false, false) == after_death::give_up));
}

BOOST_AUTO_TEST_CASE(overloaded_names_the_worker_to_take_tasks_back_from) {
    bench b(2);
    BOOST_TEST(b.s.overloaded() == no_worker);
    b.up(0);
    b.measure(0, 1'000);
    for (int i = 0; i != 5; ++i) b.submit();
    (void)b.hand_out();
    BOOST_TEST(b.ledger(0).size() == 5U);
    BOOST_TEST(b.s.overloaded() == no_worker);  // no other
    b.s.starting(1);
    BOOST_TEST(b.s.overloaded() == no_worker);
    b.s.ready(1);
    BOOST_TEST(b.s.overloaded() == 0U);
    auto& one = b.submit();
    BOOST_TEST(b.s.overloaded() == no_worker);  // something waits: that comes first
    BOOST_TEST((b.hand_out() == handed{{one.id, 1}}));
    BOOST_TEST(b.s.overloaded() == no_worker);  // both have work
    b.s.finished(one, 1'000);
    BOOST_TEST(b.s.overloaded() == 0U);
    b.s.condemn(0);
    BOOST_TEST(b.s.overloaded() == no_worker);
}

BOOST_AUTO_TEST_CASE(a_task_waits_behind_those_of_its_own_priority_only) {
    bench b(1);
    b.up(0);
    b.measure(0, 1'000);
    b.submit();
    BOOST_TEST(b.hand_out().size() == 1U);
    auto& urgent = b.submit(5);
    BOOST_TEST(b.hand_out().empty());
    auto& more_urgent = b.submit(6);
    BOOST_TEST(b.hand_out().empty());
    auto& plain = b.submit();
    b.finish_first(0, 1'000);
    BOOST_TEST((b.hand_out() == handed{{more_urgent.id, 0}}));
    auto& equal = b.submit(6);
    BOOST_TEST(b.hand_out().empty());  // others wait, too
    b.s.removed(urgent);
    BOOST_TEST(b.hand_out().empty());
    b.s.removed(plain);
    BOOST_TEST((b.hand_out() == handed{{equal.id, 0}}));
    BOOST_TEST(b.ledger(0).size() == 2U);
    BOOST_TEST(b.s.waiting() == 0U);
}

BOOST_AUTO_TEST_CASE(a_waiting_task_outranks_those_of_a_lower_priority_at_workers_once) {
    bench b(2);
    b.two_measured(1'000);
    BOOST_TEST(!b.s.outranked().has_value());
    for (int i = 0; i != 10; ++i) b.submit();
    BOOST_TEST(b.hand_out().size() == 10U);
    b.submit(-1);
    BOOST_TEST(!b.s.outranked().has_value());
    auto& urgent = b.submit(3);
    BOOST_TEST((b.s.outranked() == std::optional<std::int32_t>(3)));
    // The first of each has begun; the others come back.
    for (const worker_index worker : {0U, 1U}) {
        while (b.ledger(worker).size() > 1) b.s.returned(*b.s.ledger(worker).back());
    }
    b.s.called_back(3);
    BOOST_TEST(!b.s.outranked().has_value());
    BOOST_TEST((b.s.first_waiting() == &urgent));
    BOOST_TEST(b.hand_out().empty());
    b.finish_first(1, 1'000);
    const auto out = b.hand_out();
    BOOST_TEST((out.front() == std::pair(urgent.id, worker_index{1})));
    BOOST_TEST(out.size() == 1U);  // not even behind their equals, as the -1 waits, too
    BOOST_TEST(!b.s.outranked().has_value());
}

BOOST_AUTO_TEST_CASE(a_worker_that_others_overtake_obstructs_what_is_behind_its_first_task) {
    bench b(2);
    b.two_measured(10'000);  // a window of 40
    for (int i = 0; i != 100; ++i) b.submit();
    (void)b.hand_out();
    BOOST_TEST(b.ledger(0).size() == 40U);
    BOOST_TEST(b.s.obstructed() == no_worker);
    for (std::uint64_t i = 0; i != 2 * overtaken_max + 1; ++i) b.finish_first(1, 10'000);
    BOOST_TEST(b.s.overloaded() == no_worker);  // tasks wait
    BOOST_TEST(b.s.obstructed() == 0U);
    BOOST_TEST(b.s.has_too_many(0));
    BOOST_TEST(!b.s.has_too_many(1));
    while (b.ledger(0).size() > 1) b.s.returned(*b.s.ledger(0).back());
    BOOST_TEST(b.s.obstructed() == no_worker);
    BOOST_TEST(!b.s.has_too_many(0));
    for (const auto& [id, worker] : b.hand_out()) BOOST_TEST(worker == 1U);
    b.s.suspend(0, false);
    BOOST_TEST(b.ledger(0).size() == 1U);
}

BOOST_AUTO_TEST_CASE(nobody_obstructs_where_there_is_no_other_worker) {
    bench b(1);
    b.up(0);
    b.measure(0, 1'000);
    for (int i = 0; i != 10; ++i) b.submit();
    (void)b.hand_out();
    b.s.at_long_task(0);
    BOOST_TEST(b.s.obstructed() == no_worker);
}

BOOST_AUTO_TEST_CASE(any_order_of_events_keeps_the_books_right) {
    for (unsigned seed = 1; seed != 60; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            std::mt19937 random(seed);
            const auto workers = static_cast<worker_index>(1 + random() % 5);
            const unsigned priorities = seed % 2 == 0 ? 1 : 3;
            bench b(workers);
            std::vector<bool> suspended(workers);
            std::set<task_node*> open;
            const auto pick_handed = [&]() -> task_node* {
                std::vector<task_node*> all;
                for (auto* t : open) {
                    if (t->step == task_step::handed) all.push_back(t);
                }
                return all.empty() ? nullptr : all[random() % all.size()];
            };
            for (int round = 0; round != 2'000; ++round) {
                const auto worker = static_cast<worker_index>(random() % workers);
                switch (random() % 10) {
                    case 0:
                    case 1:
                        open.insert(&b.submit(static_cast<std::int32_t>(random() % priorities) - 1,
                                              static_cast<std::uint32_t>(random() % 3)));
                        break;
                    case 2:
                    case 3: {
                        auto* best = b.s.first_waiting();
                        std::set<worker_index> vacant;
                        for (worker_index i = 0; i != workers; ++i) {
                            if (b.s.step(i) == worker_step::ready && !suspended[i] &&
                                b.s.ledger(i).empty()) {
                                vacant.insert(i);
                            }
                        }
                        const auto out = b.s.next();
                        if (best != nullptr && !vacant.empty()) {
                            BOOST_REQUIRE((out && vacant.contains(out->worker)));
                        }
                        if (out) {
                            BOOST_REQUIRE((out->task == best));
                            BOOST_REQUIRE((b.s.step(out->worker) == worker_step::ready));
                            BOOST_REQUIRE((b.s.ledger(out->worker).back() == best));
                            BOOST_REQUIRE(b.s.ledger(out->worker).size() <= window_max);
                        }
                        break;
                    }
                    case 4:
                        if (auto* task = pick_handed()) {
                            b.s.finished(*task, random() % 100'000);
                            open.erase(task);
                        }
                        break;
                    case 5:
                        if (auto* task = pick_handed()) b.s.returned(*task);
                        break;
                    case 6:
                        if (!open.empty()) {
                            auto* task = *std::next(
                                open.begin(), static_cast<std::ptrdiff_t>(random() % open.size()));
                            b.s.removed(*task);
                            open.erase(task);
                        }
                        break;
                    case 7:
                        if (b.s.step(worker) == worker_step::ready) b.s.condemn(worker);
                        break;
                    case 8:
                        suspended[worker] = !suspended[worker];
                        b.s.suspend(worker, suspended[worker]);
                        break;
                    default:
                        if (b.s.step(worker) == worker_step::absent) {
                            b.up(worker);
                            suspended[worker] = false;
                        } else {
                            while (auto* task = b.s.ledger(worker).back()) {
                                if (random() % 2 == 0) {
                                    b.s.returned(*task);
                                } else if (!b.s.crashed(*task)) {
                                    open.erase(task);
                                }
                            }
                            BOOST_REQUIRE((b.s.died(worker, true, random() % 2 == 0) ==
                                           after_death::restart));
                        }
                }
                std::size_t waiting = 0;
                std::size_t at_workers = 0;
                for (auto* t : open) {
                    waiting += t->step == task_step::waiting ? 1 : 0;
                    at_workers += t->step == task_step::handed ? 1 : 0;
                }
                BOOST_REQUIRE(waiting + at_workers == open.size());
                BOOST_REQUIRE(b.s.waiting() == waiting);
                BOOST_REQUIRE(b.s.handed() == at_workers);
                std::size_t in_ledgers = 0;
                for (worker_index i = 0; i != workers; ++i) in_ledgers += b.s.ledger(i).size();
                BOOST_REQUIRE(in_ledgers == at_workers);
                BOOST_REQUIRE((b.s.first_waiting() != nullptr) == (waiting != 0));
            }
            // Whatever happened: with a ready worker, everything is handed out in the end.
            for (worker_index i = 0; i != workers; ++i) {
                b.s.suspend(i, false);
                if (b.s.step(i) == worker_step::absent) b.up(i);
                if (b.s.step(i) == worker_step::condemned) {
                    while (auto* task = b.s.ledger(i).back()) b.s.returned(*task);
                    (void)b.s.died(i, true, true);
                    b.up(i);
                }
            }
            while (!open.empty()) {
                (void)b.hand_out();
                auto* task = pick_handed();
                BOOST_REQUIRE(task != nullptr);
                b.s.finished(*task, 1);
                open.erase(task);
            }
        }
    }
}

BOOST_AUTO_TEST_CASE(a_worker_gets_no_more_tasks_than_its_budget_and_is_spent_then) {
    bench b(1, {.tasks_per_worker_max = 3});
    b.up(0);
    std::vector<task_node*> tasks;
    for (int i = 0; i != 5; ++i) tasks.push_back(&b.submit());
    for (int i = 0; i != 3; ++i) {
        BOOST_TEST(!b.s.is_spent(0));
        BOOST_TEST(b.hand_out().size() == 1U);
        b.s.finished(*tasks[static_cast<std::size_t>(i)], long_task_ns);
    }
    BOOST_TEST(b.hand_out().empty());
    BOOST_TEST(b.s.is_spent(0));
    b.s.retire(0);
    BOOST_TEST(!b.s.is_spent(0));
    BOOST_TEST((b.s.died(0, true, true) == after_death::restart));
    b.up(0);
    BOOST_TEST(b.hand_out().size() == 1U);
}

BOOST_AUTO_TEST_CASE(a_task_that_comes_back_does_not_count_for_the_budget) {
    bench b(1, {.tasks_per_worker_max = 1});
    b.up(0);
    auto& task = b.submit();
    for (int i = 0; i != 5; ++i) {
        BOOST_TEST(b.hand_out().size() == 1U);
        b.s.returned(task);
    }
    BOOST_TEST(b.hand_out().size() == 1U);
    b.s.finished(task, 1);
    BOOST_TEST(b.s.is_spent(0));
}

BOOST_AUTO_TEST_CASE(a_suspended_or_retiring_worker_gets_nothing_and_the_others_do) {
    bench b(3);
    for (worker_index i = 0; i != 3; ++i) b.up(i);
    b.s.suspend(0, true);
    b.s.retire(1);
    for (int i = 0; i != 2; ++i) (void)b.submit();
    BOOST_TEST((b.hand_out() == handed{{1, 2}}));
    BOOST_TEST((b.s.overloaded() == no_worker));
    b.s.suspend(0, false);
    BOOST_TEST((b.hand_out() == handed{{2, 0}}));
}

BOOST_AUTO_TEST_CASE(workers_that_die_idle_again_and_again_are_replaced_ever_later) {
    bench b(1);
    for (unsigned i = 0; i != idle_deaths_free + 3; ++i) {
        b.up(0);
        BOOST_TEST((b.s.died(0, true, false, false, true) == after_death::restart));
        BOOST_TEST(b.s.back_off(0) == (i < idle_deaths_free ? 0U : i + 1 - idle_deaths_free));
    }
    b.up(0);
    b.measure(0, 1000);
    BOOST_TEST(b.s.back_off(0) == 0U);
}

BOOST_AUTO_TEST_CASE(a_worker_that_never_starts_is_tried_ever_later_although_others_are_well) {
    bench b(2, {.start_failures_max = 3});
    b.up(1);
    for (unsigned i = 1; i != 20; ++i) {
        b.s.starting(0);
        BOOST_TEST((b.s.died(0, false, false) == after_death::restart));
        BOOST_TEST(b.s.back_off(0) == i);
        b.measure(1, 1000);
        BOOST_TEST(b.s.back_off(1) == 0U);
    }
    b.s.suspend(1, true);
    b.up(0);
    b.measure(0, 1000);
    BOOST_TEST(b.s.back_off(0) == 0U);
}

BOOST_AUTO_TEST_CASE(a_worker_that_is_killed_at_each_start_is_tried_ever_later) {
    bench b(1, {.start_kills_max = 4});
    for (unsigned i = 1; i != 4; ++i) {
        b.s.starting(0);
        BOOST_TEST((b.s.died(0, false, false, true, false) == after_death::restart));
        BOOST_TEST(b.s.back_off(0) == i);
    }
    b.s.starting(0);
    BOOST_TEST((b.s.died(0, false, false, true, false) == after_death::give_up));
}

BOOST_AUTO_TEST_CASE(a_worker_that_comes_up_ends_a_row_of_failed_starts_but_not_of_deaths) {
    bench b(1, {.crash_limit = 2, .start_failures_max = 2});
    for (int i = 0; i != 5; ++i) {
        b.s.starting(0);
        BOOST_TEST((b.s.died(0, false, false) == after_death::restart));
        b.up(0);
        b.s.has_come_up(0);
        BOOST_TEST(b.s.back_off(0) == 0U);
        b.s.retire(0);
        BOOST_TEST((b.s.died(0, true, true) == after_death::restart));
    }
    b.up(0);
    BOOST_TEST((b.s.died(0, true, false) == after_death::restart));
    b.up(0);
    b.s.has_come_up(0);
    BOOST_TEST((b.s.died(0, true, false) == after_death::give_up));
}

BOOST_AUTO_TEST_CASE(a_finished_part_of_a_task_ends_a_row_of_deaths) {
    bench b(1, {.crash_limit = 2});
    for (int i = 0; i != 5; ++i) {
        b.up(0);
        b.s.progressed(0);
        BOOST_TEST((b.s.died(0, true, false) == after_death::restart));
    }
    b.up(0);
    BOOST_TEST((b.s.died(0, true, false) == after_death::give_up));
}

BOOST_AUTO_TEST_CASE(more_workers_make_room) {
    bench b(1);
    b.up(0);
    for (int i = 0; i != 3; ++i) (void)b.submit();
    BOOST_TEST((b.hand_out() == handed{{1, 0}}));
    b.s.grow(3);
    BOOST_TEST(b.s.size() == 3U);
    b.up(2);
    BOOST_TEST((b.hand_out() == handed{{2, 2}}));
    b.s.grow(1);
    BOOST_TEST(b.s.size() == 3U);
}

BOOST_AUTO_TEST_SUITE_END()
