// Both sides of the protocol in control.hpp in one process, and states that a dead or a lying worker
// would leave, written by hand.
#include "channel/compartment.hpp"
#include "channel/worker_port.hpp"

#include <boost/test/unit_test.hpp>

#include <cstring>
#include <fcntl.h>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>
#include <random>
#include <span>
#include <string>
#include <thread>
#include <unistd.h>

namespace {

using namespace bulkhead::channel;
using bulkhead::task_phase;

/// A compartment, its worker's side, and its memory as the worker could write it.
struct pair {
    pair() {
        std::vector<int> fds;
        for (const int fd : parent.worker_fds()) fds.push_back(::fcntl(fd, F_DUPFD_CLOEXEC, 0));
        memory = bulkhead::os::map_shared(fds[1], compartment_bytes, "the test's view");
        control = reinterpret_cast<control_block*>(memory.data());
        worker = std::make_unique<worker_port>(fds);
        parent.launched();
    }

    /// 0: no room.
    std::uint64_t try_post(std::string_view text) {
        task_envelope envelope{};
        bulkhead::channel::payload bytes(
            {reinterpret_cast<const std::byte*>(text.data()), text.size()});
        BOOST_REQUIRE(parent.place_arguments(bytes, envelope));
        const auto ticket = parent.post(envelope);
        if (ticket == 0) {
            parent.release_arguments(envelope);
        } else {
            placed[ticket] = envelope;
        }
        return ticket;
    }
    std::uint64_t post(std::string_view text = "x") {
        BOOST_REQUIRE(parent.has_room());
        const auto ticket = try_post(text);
        BOOST_REQUIRE(ticket != 0U);
        return ticket;
    }
    withdrawal withdraw(std::uint64_t ticket) {
        const auto how = parent.withdraw(ticket);
        if (how == withdrawal::withdrawn) parent.release_arguments(placed[ticket]);
        return how;
    }
    std::string receive() {
        const auto* envelope = worker->next_task();
        BOOST_REQUIRE(envelope != nullptr);
        const auto bytes = worker->arguments();
        return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
    }
    void answer(std::string_view text = "y") {
        worker->finish(result_kind::value,
                       {reinterpret_cast<const std::byte*>(text.data()), text.size()}, nullptr);
    }
    /// The next result and its ticket, if it is there.
    std::optional<std::pair<std::uint64_t, std::string>> try_collect() {
        std::uint64_t ticket = 0;
        result_envelope envelope;
        const auto got = parent.collect(ticket, envelope);
        BOOST_REQUIRE((got != harvest::lied));
        if (got == harvest::nothing) return std::nullopt;
        const auto result = parent.result_bytes(ticket, envelope);
        parent.release_result(ticket, envelope);
        settle(ticket);
        const auto bytes = result.bytes();
        return std::pair{ticket,
                         std::string(reinterpret_cast<const char*>(bytes.data()), bytes.size())};
    }
    std::pair<std::uint64_t, std::string> collect() {
        auto result = try_collect();
        BOOST_REQUIRE(result.has_value());
        return *result;
    }
    void settle(std::uint64_t ticket) {
        parent.settled(ticket);
        parent.release_arguments(placed[ticket]);
    }
    /// A task whose result refers to these.
    void do_one(std::span<const int> refers_to, std::string_view result = "y") {
        post();
        (void)receive();
        worker->refer_to({refers_to.begin(), refers_to.end()});
        answer(result);
    }
    bool nothing() {
        std::uint64_t ticket = 0;
        result_envelope envelope;
        return parent.collect(ticket, envelope) == harvest::nothing;
    }
    void write(std::uint64_t ticket, std::uint64_t state) const {
        control->slots[ticket % slots_max].state.store(state);
    }

    compartment parent;
    std::map<std::uint64_t, task_envelope> placed;
    bulkhead::os::mapping memory;
    control_block* control = nullptr;
    std::unique_ptr<worker_port> worker;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(compartment)

BOOST_AUTO_TEST_CASE(tasks_and_results_go_there_and_back_in_order_round_after_round) {
    pair both;
    std::uint64_t last = 0;
    for (int round = 0; round != 1000; ++round) {
        for (int i = 0; i != 3; ++i) {
            BOOST_TEST(both.post(std::to_string(i)) == ++last);
        }
        for (int i = 0; i != 3; ++i) {
            BOOST_TEST(both.receive() == std::to_string(i));
            both.answer(std::to_string(10 * i));
        }
        BOOST_TEST(both.parent.consistent());
        for (int i = 0; i != 3; ++i) BOOST_TEST(both.collect().second == std::to_string(10 * i));
        BOOST_TEST(both.nothing());
    }
}

BOOST_AUTO_TEST_CASE(payloads_of_every_place_arrive_whole) {
    pair both;
    for (const std::size_t bytes :
         {std::size_t{0}, task_envelope::inline_bytes, task_envelope::inline_bytes + 1,
          std::size_t{1} << 20, arena_payload_bytes_max + 1}) {
        const std::string there(bytes, 'a');
        const std::string back(bytes, 'b');
        for (int round = 0; round != 100; ++round) {
            (void)both.post(there);
            BOOST_TEST((both.receive() == there));
            both.answer(back);
            BOOST_TEST((both.collect().second == back));
            if (bytes > (1U << 20)) break;
        }
    }
}

BOOST_AUTO_TEST_CASE(there_is_room_for_as_many_as_there_are_slots_until_they_are_settled) {
    pair both;
    for (std::size_t i = 0; i != slots_max; ++i) (void)both.post();
    BOOST_TEST(!both.parent.has_room());
    (void)both.receive();
    both.answer();
    BOOST_TEST(!both.parent.has_room());  // published, not collected
    (void)both.collect();
    BOOST_TEST(both.parent.has_room());
    (void)both.post();
    BOOST_TEST(!both.parent.has_room());
}

BOOST_AUTO_TEST_CASE(a_task_taken_back_is_never_received_and_one_received_is_not_taken_back) {
    pair both;
    const auto first = both.post("first");
    const auto second = both.post("second");
    const auto third = both.post("third");
    BOOST_TEST((both.withdraw(second) == withdrawal::withdrawn));
    BOOST_TEST(both.receive() == "first");
    BOOST_TEST((both.withdraw(first) == withdrawal::begun));
    both.answer();
    BOOST_TEST((both.withdraw(first) == withdrawal::published));
    BOOST_TEST(both.receive() == "third");
    both.answer();
    BOOST_TEST(both.collect().first == first);
    BOOST_TEST(both.collect().first == third);
    BOOST_TEST(both.nothing());
}

BOOST_AUTO_TEST_CASE(tickets_taken_back_at_the_end_are_given_out_again_in_order) {
    pair both;
    const auto first = both.post("first");
    const auto second = both.post("second");
    const auto third = both.post("third");
    BOOST_TEST((both.withdraw(second) == withdrawal::withdrawn));
    BOOST_TEST((both.withdraw(third) == withdrawal::withdrawn));
    BOOST_TEST(both.post("new second") == second);
    BOOST_TEST(both.post("new third") == third);
    for (const std::string expected : {"first", "new second", "new third"}) {
        BOOST_TEST(both.receive() == expected);
        both.answer(expected);
        BOOST_TEST(both.collect().second == expected);
    }
    BOOST_TEST(both.post() == third + 1);
    BOOST_TEST(first == 1U);
}

BOOST_AUTO_TEST_CASE(a_worker_that_does_not_move_never_runs_out_of_slots_by_tasks_taken_back) {
    pair both;
    (void)both.post("first");
    for (std::size_t i = 0; i != 10 * slots_max; ++i) {
        const auto a = both.post();
        const auto b = both.post();
        BOOST_TEST((both.withdraw(i % 2 == 0 ? a : b) == withdrawal::withdrawn));
        BOOST_TEST((both.withdraw(i % 2 == 0 ? b : a) == withdrawal::withdrawn));
    }
    (void)both.post("last");
    BOOST_TEST(both.receive() == "first");
    both.answer();
    BOOST_TEST(both.receive() == "last");
}

BOOST_AUTO_TEST_CASE(tickets_that_the_worker_has_passed_are_not_given_out_again) {
    pair both;
    for (std::size_t round = 0; round != 2 * slots_max; ++round) {
        const auto dropped = both.post("dropped");
        const auto kept = both.post("kept");
        BOOST_TEST((both.withdraw(dropped) == withdrawal::withdrawn));
        BOOST_TEST(both.receive() == "kept");  // passes the other
        both.answer();
        BOOST_TEST(both.collect().first == kept);
    }
}

BOOST_AUTO_TEST_CASE(each_state_of_a_dead_worker_is_read_as_what_it_is) {
    for (const auto& [step, expected] :
         {std::pair{slot_step::posted, progress::waiting},
          std::pair{slot_step::decode, progress::begun}, std::pair{slot_step::run, progress::begun},
          std::pair{slot_step::encode, progress::begun},
          std::pair{slot_step::published, progress::published},
          std::pair{slot_step::empty, progress::lied}, std::pair{slot_step::passed, progress::lied},
          std::pair{slot_step::withdrawn, progress::lied},
          std::pair{static_cast<slot_step>(200), progress::lied}}) {
        pair both;
        const auto ticket = both.post();
        both.write(ticket, make_state(ticket, step));
        BOOST_TEST((both.parent.at(ticket) == expected));
        BOOST_TEST(both.parent.consistent() == (expected != progress::lied));
        both.write(ticket, make_state(ticket + slots_max, step));
        BOOST_TEST((both.parent.at(ticket) == progress::lied));
        BOOST_TEST(!both.parent.consistent());
    }
    pair both;
    const auto ticket = both.post();
    (void)both.receive();
    BOOST_TEST((both.parent.phase_of(ticket) == task_phase::decode));
    both.worker->enter(task_phase::encode);
    BOOST_TEST((both.parent.phase_of(ticket) == task_phase::encode));
}

BOOST_AUTO_TEST_CASE(a_worker_that_passes_what_nobody_took_back_is_a_liar) {
    pair both;
    const auto ticket = both.post();
    both.write(ticket, make_state(ticket, slot_step::passed));
    BOOST_TEST(both.parent.results_waiting());
    std::uint64_t collected = 0;
    result_envelope envelope;
    BOOST_TEST((both.parent.collect(collected, envelope) == harvest::lied));
    BOOST_TEST((both.withdraw(ticket) == withdrawal::lied));
}

BOOST_AUTO_TEST_CASE(a_worker_that_skips_a_task_is_a_liar) {
    pair both;
    const auto first = both.post();
    const auto second = both.post();
    both.write(second, make_state(second, slot_step::published));
    BOOST_TEST(!both.parent.consistent());
    both.write(first, make_state(first, slot_step::run));
    BOOST_TEST(!both.parent.consistent());
    both.write(first, make_state(first, slot_step::published));
    BOOST_TEST(both.parent.consistent());
}

BOOST_AUTO_TEST_CASE(a_worker_that_overwrites_what_was_taken_back_is_a_liar) {
    pair both;
    (void)both.post("long");
    const auto second = both.post();
    BOOST_TEST(both.receive() == "long");
    BOOST_TEST((both.withdraw(second) == withdrawal::withdrawn));
    const auto third = both.post();
    BOOST_TEST(third == second);
    BOOST_TEST((both.withdraw(third) == withdrawal::withdrawn));
    BOOST_TEST(both.parent.consistent());
    both.write(third, 0);
    const auto fourth = both.post();  // where its worker will never come to
    BOOST_TEST(fourth > third);
    BOOST_TEST(!both.parent.consistent());
    both.write(third, make_state(third, slot_step::passed));
    BOOST_TEST(both.parent.consistent());
}

BOOST_AUTO_TEST_CASE(a_worker_whose_task_begins_in_the_future_is_a_liar) {
    pair both;
    (void)both.post();
    (void)both.receive();
    BOOST_TEST(both.parent.consistent());
    both.control->started_ns = monotonic_ns() + 3'600'000'000'000;
    BOOST_TEST(!both.parent.consistent());
}

BOOST_AUTO_TEST_CASE(results_that_lie_about_their_bytes_are_refused) {
    const auto refused = [](auto&& spoil) {
        pair both;
        const auto ticket = both.post();
        (void)both.receive();
        both.answer(std::string(1000, 'r'));
        spoil(both.control->slots[ticket % slots_max].result);
        std::uint64_t collected = 0;
        result_envelope envelope;
        BOOST_REQUIRE((both.parent.collect(collected, envelope) == harvest::result));
        BOOST_CHECK_THROW((void)both.parent.result_bytes(collected, envelope),
                          bulkhead::codec_error);
    };
    refused([](result_envelope& e) { e.bytes = arena_bytes + 1; });
    refused([](result_envelope& e) { e.bytes = ~std::uint64_t{0}; });
    refused([](result_envelope& e) { e.offset = arena_bytes; });
    refused([](result_envelope& e) { e.offset = ~std::uint64_t{0}; });
    refused([](result_envelope& e) { e.where = 77; });
    refused([](result_envelope& e) { e.where = static_cast<std::uint32_t>(place::here); });
    refused([](result_envelope& e) { e.where = static_cast<std::uint32_t>(place::segment); });
}

BOOST_AUTO_TEST_CASE(a_result_on_its_way_keeps_its_ticket_whatever_the_worker_writes) {
    pair both;
    const auto ticket = both.post();
    (void)both.receive();
    both.answer();
    std::uint64_t collected = 0;
    result_envelope envelope;
    BOOST_REQUIRE((both.parent.collect(collected, envelope) == harvest::result));
    both.write(ticket, make_state(ticket, slot_step::posted));
    BOOST_TEST((both.withdraw(ticket) != withdrawal::withdrawn));
    BOOST_TEST(both.post() == ticket + 1);
}

BOOST_AUTO_TEST_CASE(segments_of_tasks_that_were_taken_back_do_not_keep_others_out) {
    pair both;
    const auto segment = [](std::size_t bytes, char letter) {
        auto memory =
            std::make_shared<bulkhead::detail::shared_payload>(arena_payload_bytes_max + 1);
        std::memset(memory->data(), letter, 100);
        return bulkhead::channel::payload(std::move(memory), bytes);
    };
    const auto largest = segment(arena_payload_bytes_max + 1, 'l');
    const auto smaller = segment(100'000, 's');
    task_envelope envelope{};
    for (int round = 0; round != 3; ++round) {
        // Until the worker's socket is full of them.
        int taken_back = 0;
        while (both.parent.place_arguments(largest, envelope)) {
            const auto ticket = both.parent.post(envelope);
            BOOST_REQUIRE(ticket != 0U);
            BOOST_REQUIRE((both.parent.withdraw(ticket) == withdrawal::withdrawn));
            both.parent.release_arguments(envelope);
            BOOST_REQUIRE(++taken_back < 100'000);
        }
        BOOST_TEST(taken_back > 0);
        BOOST_REQUIRE(both.parent.place_arguments(smaller, envelope));
        BOOST_TEST(envelope.where == static_cast<std::uint32_t>(place::arena));
        both.parent.release_arguments(envelope);

        std::string received;
        std::thread worker([&] {  // without checks, which are for one thread
            if (both.worker->next_task() == nullptr) return;
            received.assign(reinterpret_cast<const char*>(both.worker->arguments().data()), 100);
        });
        while (!both.parent.place_arguments(largest, envelope)) std::this_thread::yield();
        const auto ticket = both.parent.post(envelope);
        BOOST_TEST(ticket != 0U);
        worker.join();
        BOOST_TEST(received == std::string(100, 'l'));
        both.placed[ticket] = envelope;
        both.answer();
        BOOST_TEST(both.collect().first == ticket);
    }
}

BOOST_AUTO_TEST_CASE(what_a_result_refers_to_comes_with_it_and_is_dropped_with_it) {
    pair both;
    const auto open_files = [] {
        return std::distance(std::filesystem::directory_iterator("/proc/self/fd"), {});
    };
    int ends_of_a_pipe[2];
    BOOST_REQUIRE(::pipe2(ends_of_a_pipe, O_CLOEXEC) == 0);
    const auto before = open_files();
    const std::string large(arena_payload_bytes_max + 1, 'l');
    for (int round = 0; round != 3; ++round) {
        // More than a socket holds, if nobody took them.
        for (int i = 0; i != 600; ++i) {
            both.do_one(ends_of_a_pipe);
            BOOST_TEST(both.collect().second == "y");
        }
        BOOST_TEST(open_files() == before);
        int ends[2];
        BOOST_REQUIRE(::pipe2(ends, O_CLOEXEC) == 0);
        both.do_one(ends, large);
        ::close(ends[0]);
        ::close(ends[1]);
        std::uint64_t got = 0;
        result_envelope envelope;
        BOOST_REQUIRE((both.parent.collect(got, envelope) == harvest::result));
        std::size_t left = 0;
        {
            auto with = both.parent.descriptors_of(got);
            const auto bytes = both.parent.begin_result(envelope, left, nullptr, &with);
            const auto& refers_to = with.fds;
            BOOST_TEST(bytes.size() == large.size());
            BOOST_REQUIRE(refers_to.size() == 2U);
            BOOST_TEST(::write(refers_to[1].get(), "x", 1) == 1);
            char letter = 0;
            BOOST_TEST(::read(refers_to[0].get(), &letter, 1) == 1);
            BOOST_TEST(letter == 'x');
        }
        both.settle(got);
        BOOST_TEST(open_files() == before);
    }
    both.post();
    (void)both.receive();
    both.worker->refer_to({1'000'000});
    BOOST_CHECK_THROW(both.answer(), bulkhead::error);
    BOOST_CHECK_THROW(both.worker->refer_to(std::vector<int>(worker_port::references_max + 1, 0)),
                      bulkhead::error);
    // Of a result with a descriptor that nobody looked for nothing stays in the way.
    both.worker->refer_to({ends_of_a_pipe[0], ends_of_a_pipe[1]});
    both.answer();
    std::uint64_t unwanted = 0;
    result_envelope not_read;
    BOOST_REQUIRE((both.parent.collect(unwanted, not_read) == harvest::result));
    both.settle(unwanted);
    both.do_one(ends_of_a_pipe);
    BOOST_TEST(both.collect().second == "y");
    BOOST_TEST(open_files() == before);
    ::close(ends_of_a_pipe[0]);
    ::close(ends_of_a_pipe[1]);
}

BOOST_AUTO_TEST_CASE(a_worker_whose_parent_parts_after_a_large_task_sees_its_end) {
    pair both;
    const std::string large(arena_payload_bytes_max + 1, 'l');
    both.post(large);
    (void)both.receive();
    both.answer();
    (void)both.collect();  // and with it its segment is stale
    both.parent.hang_up();
    BOOST_TEST((both.worker->next_task() == nullptr));
}

BOOST_AUTO_TEST_CASE(a_large_value_is_built_as_it_arrives_and_kept_as_bytes_where_its_count_lies) {
    struct odd {  // no piece is a whole number of these
        std::uint32_t words[3];
        bool operator==(const odd&) const = default;
    };
    std::vector<odd> values(70'001);
    for (std::uint32_t i = 0; i != values.size(); ++i) values[i] = {{i, i + 1, ~i}};
    std::string message(sizeof(std::uint64_t), '\0');
    message.append(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(odd));

    const auto arrives = [&](std::uint64_t count, auto&& spoil) {
        std::memcpy(message.data(), &count, sizeof count);
        pair both;
        const auto ticket = both.post();
        (void)both.receive();
        both.answer(message);
        spoil(both.control->slots[ticket % slots_max].result);
        std::uint64_t collected = 0;
        result_envelope envelope;
        BOOST_REQUIRE((both.parent.collect(collected, envelope) == harvest::result));
        std::size_t left = 0;
        auto result = both.parent.begin_result(envelope, left,
                                               &bulkhead::detail::make_arriving<std::vector<odd>>);
        while (left != 0) both.parent.copy_more(envelope, result, left);
        BOOST_TEST(result.size() == message.size());
        std::optional<std::vector<odd>> out;
        if (result.arriving() != nullptr) {
            result.arriving()->take(&out);
        } else {
            BOOST_TEST(result.bytes().size() == message.size());
        }
        return out;
    };
    const auto honest = [](result_envelope&) {};
    BOOST_TEST((arrives(values.size(), honest) == values));
    BOOST_TEST(!arrives(values.size() - 1, honest).has_value());
    BOOST_TEST(!arrives(values.size() + 1, honest).has_value());
    BOOST_TEST(!arrives(~std::uint64_t{0}, honest).has_value());
    // What it would take for the count lies elsewhere, and crooked.
    BOOST_TEST(!arrives(values.size(), [](result_envelope& e) { e.offset += 1; }).has_value());
    BOOST_TEST(!arrives(values.size(), [](result_envelope& e) {
                    e.kind = static_cast<std::uint16_t>(result_kind::exception);
                }).has_value());
}

BOOST_AUTO_TEST_CASE(posting_withdrawing_and_collecting_beside_a_working_worker_is_exact) {
    pair both;
    std::vector<int> runs(20'000);
    std::jthread working([&] {
        while (both.worker->next_task() != nullptr) {
            const auto bytes = both.worker->arguments();
            std::size_t number = 0;
            std::memcpy(&number, bytes.data(), sizeof number);
            ++runs[number];
            both.worker->finish(result_kind::value, bytes, nullptr);
        }
    });
    std::mt19937 random(1);
    std::vector<int> results(runs.size());
    std::vector<int> withdrawn(runs.size());
    std::map<std::uint64_t, std::size_t> handed;
    const auto collect_next = [&] {
        const auto result = both.try_collect();
        if (!result) return;
        const auto& [ticket, text] = *result;
        std::size_t number = 0;
        std::memcpy(&number, text.data(), sizeof number);
        BOOST_REQUIRE(handed.at(ticket) == number);
        ++results[number];
        handed.erase(ticket);
    };
    for (std::size_t number = 0; number != runs.size(); ++number) {
        const std::string_view text(reinterpret_cast<const char*>(&number), sizeof number);
        std::uint64_t posted = 0;
        while ((posted = both.try_post(text)) == 0) collect_next();
        handed[posted] = number;
        // Sometimes all that is there, newest first; sometimes the newest, or the oldest.
        while (random() % 4 == 0 && !handed.empty()) {
            const auto which = random() % 8 == 0 ? handed.begin() : std::prev(handed.end());
            if (both.withdraw(which->first) != withdrawal::withdrawn) break;
            ++withdrawn[which->second];
            handed.erase(which);
        }
        if (number % 100 == 0) BOOST_REQUIRE(both.parent.consistent());
    }
    while (!handed.empty()) collect_next();
    both.parent.hang_up();
    working.join();
    BOOST_TEST(runs == results);
    for (std::size_t i = 0; i != runs.size(); ++i) {
        BOOST_REQUIRE(results[i] + withdrawn[i] == 1);
    }
}

BOOST_AUTO_TEST_CASE(whatever_the_worker_writes_the_parent_keeps_to_its_books) {
    std::mt19937_64 random(20261123);
    const auto below = [&](std::uint64_t bound) { return random() % bound; };
    for (int game = 0; game != 60; ++game) {
        pair both;
        std::vector<std::uint64_t> posted;
        for (int move = 0; move != 2000; ++move) {
            switch (below(8)) {
                case 0:
                case 1:
                    if (both.parent.has_room()) posted.push_back(both.post(std::string(300, 'a')));
                    break;
                case 2:
                    if (!posted.empty()) {
                        const auto which =
                            posted.begin() + static_cast<std::ptrdiff_t>(below(posted.size()));
                        if (both.withdraw(*which) == withdrawal::withdrawn) posted.erase(which);
                    }
                    break;
                case 3: {
                    std::uint64_t ticket = 0;
                    result_envelope envelope;
                    if (both.parent.collect(ticket, envelope) != harvest::result) break;
                    try {
                        (void)both.parent.result_bytes(ticket, envelope);
                        both.parent.release_result(ticket, envelope);
                    } catch (const bulkhead::error&) {
                    }
                    break;
                }
                case 4:
                    (void)both.parent.consistent();
                    break;
                case 5:  // garbage that looks like something
                    both.write(below(slots_max), make_state(below(posted.size() + 3),
                                                            static_cast<slot_step>(below(9))));
                    break;
                case 6: {
                    auto* at = reinterpret_cast<unsigned char*>(both.control) +
                               below(sizeof(control_block) - 8);
                    const auto word = random();
                    std::memcpy(at, &word, sizeof word);
                    break;
                }
                case 7:
                    if (!posted.empty()) {
                        const auto ticket = posted[below(posted.size())];
                        (void)both.parent.at(ticket);
                        (void)both.parent.phase_of(ticket);
                        (void)both.parent.partial_items_of(ticket);
                        (void)both.parent.started_ns();
                        (void)both.parent.results_waiting();
                    }
                    break;
            }
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
