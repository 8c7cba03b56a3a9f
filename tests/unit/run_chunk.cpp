// A chunk's items, run one after another in the worker, and where the chunk ends.
#include <boost/test/unit_test.hpp>
#include <bulkhead/detail/map_batches.hpp>
#include <bulkhead/detail/task_encoder.hpp>
#include <bulkhead/task.hpp>

#include <array>
#include <atomic>
#include <cstdint>
#include <cstring>
#include <stop_token>
#include <string>

namespace {

using namespace bulkhead;
using namespace bulkhead::detail;

int runs = 0;
std::int64_t square(std::int64_t x) {
    ++runs;
    return x * x;
}
std::string text_of(std::int64_t x) {
    ++runs;
    return std::to_string(x);
}

/// Lets so many items begin.
class ending_context final : public task_context {
public:
    explicit ending_context(int items) : left_(items) { runs = 0; }

    void enter(task_phase) override {}
    std::stop_token stop_token() override { return {}; }
    bool begin_item() override { return left_-- > 0; }
    void item_failed() override { BOOST_ERROR("an item failed"); }
    bool end_item() override {
        ++ended;
        return true;
    }
    [[noreturn]] void leave_fork() override { std::abort(); }
    flat_block& begin_flat(std::size_t items, std::size_t) override {
        block_.items = items;
        block_.values = reinterpret_cast<std::byte*>(results.data());
        block_.timed = true;
        block_.done = &done;
        block_.abandoned = &abandoned_;
        block_.ticket = 1;
        block_.forks = &forks_;
        return block_;
    }
    bool flat_item_failed(std::size_t) override { return false; }

    int ended = 0;
    std::array<std::int64_t, 8> results{};
    std::atomic<std::uint64_t> done{0};

private:
    int left_;
    flat_block block_;
    std::atomic<std::uint64_t> abandoned_{0};
    std::atomic<unsigned> forks_{0};
};

/// Runs f on 0 to 7 as a worker does.
template <class F>
void run_eight(F f, task_context& context) {
    using call = typename task_of<F, std::int64_t>::call;
    using message = std::conditional_t<call::is_flat_call, flat_message, chunk_message>;
    message items;
    for (std::int64_t i = 0; i != 8; ++i) {
        if constexpr (call::is_flat_call) {
            std::memcpy(items.room_for(1, sizeof i), &i, sizeof i);
            items.added(1);
        } else {
            task_encoder item;
            call::encode_arguments(item, i);
            items.add_item(item.bytes());
        }
    }
    task_encoder arguments;
    call::encode_function(arguments, f);
    items.write(arguments, 0);
    decoder in(arguments.bytes());
    task_encoder out;
    call::run_chunk(in, out, context);
}

}  // namespace

BOOST_AUTO_TEST_SUITE(run_chunk)

BOOST_AUTO_TEST_CASE(a_flat_chunk_ends_at_an_item_that_may_not_begin_and_is_between_two) {
    ending_context context(3);
    run_eight(&square, context);
    BOOST_TEST(runs == 3);
    BOOST_TEST(context.results[2] == 4);
    const auto word = context.done.load();
    BOOST_TEST(chunk_word_items(word) == 3U);
    BOOST_TEST((word & between_items) != 0U);
}

BOOST_AUTO_TEST_CASE(a_framed_chunk_ends_at_an_item_that_may_not_begin) {
    ending_context context(3);
    run_eight(&text_of, context);
    BOOST_TEST(runs == 3);
    BOOST_TEST(context.ended == 3);
}

BOOST_AUTO_TEST_CASE(all_items_run_when_all_may_begin) {
    ending_context context(8);
    run_eight(&square, context);
    BOOST_TEST(runs == 8);
    BOOST_TEST(chunk_word_items(context.done.load()) == 8U);
}

BOOST_AUTO_TEST_SUITE_END()
