// Segments of large arguments: who gets one, who gets one again, and who can write to it.
#include "channel/compartment.hpp"
#include "channel/known_segments.hpp"
#include "channel/segment_store.hpp"

#include <boost/test/unit_test.hpp>

#include <atomic>
#include <cerrno>
#include <cstring>
#include <fcntl.h>
#include <memory>
#include <sys/mman.h>
#include <thread>
#include <unistd.h>
#include <vector>

namespace {

using bulkhead::channel::known_segments;
using bulkhead::channel::segment_store;
using bulkhead::detail::shared_payload;
using segment = std::shared_ptr<shared_payload>;

constexpr std::size_t some = std::size_t{1} << 20;

std::vector<segment> take_all(segment_store& store) {
    std::vector<segment> all;
    while (auto one = store.segment(some)) all.push_back(std::move(one));
    return all;
}

}  // namespace

BOOST_AUTO_TEST_SUITE(segments)

BOOST_AUTO_TEST_CASE(a_segment_that_came_back_is_given_again_with_its_pages) {
    const auto store = std::make_shared<segment_store>();
    auto first = store->segment(some);
    BOOST_REQUIRE(first);
    const auto id = first->id();
    const std::byte* data = first->data();
    std::memset(first->data(), 7, some);
    first.reset();
    const auto second = store->segment(segment_store::segment_bytes);
    BOOST_REQUIRE(second);
    BOOST_TEST(second->id() == id);
    BOOST_TEST(second->data() == data);
    BOOST_TEST(static_cast<int>(second->data()[some - 1]) == 7);
}

BOOST_AUTO_TEST_CASE(there_are_so_many_at_a_time_and_no_larger_ones) {
    const auto store = std::make_shared<segment_store>();
    BOOST_TEST(!store->segment(segment_store::segment_bytes + 1));
    auto all = take_all(*store);
    BOOST_TEST(all.size() == segment_store::segments_max);
    for (const auto& one : all) {
        BOOST_TEST(one->capacity() == segment_store::segment_bytes);
        BOOST_TEST(one->id() != 0U);
    }
    all.pop_back();
    BOOST_TEST(take_all(*store).size() == 1U);
    all.clear();
    BOOST_TEST(take_all(*store).size() == segment_store::segments_max);
}

BOOST_AUTO_TEST_CASE(what_a_worker_may_be_reading_is_not_given_again) {
    const auto store = std::make_shared<segment_store>();
    auto lent = store->segment(some);
    BOOST_REQUIRE(lent);
    const auto id = lent->id();
    lent->lend();
    lent.reset();
    auto all = take_all(*store);
    BOOST_TEST(all.size() == segment_store::segments_max);
    for (const auto& one : all) BOOST_TEST(one->id() != id);

    const auto returned = all.back()->id();
    all.back()->lend();
    all.back()->returned();
    all.pop_back();
    const auto again = store->segment(some);
    BOOST_REQUIRE(again);
    BOOST_TEST(again->id() == returned);
}

BOOST_AUTO_TEST_CASE(a_segment_outlives_the_pool_that_it_is_of) {
    auto store = std::make_shared<segment_store>();
    auto one = store->segment(some);
    BOOST_REQUIRE(one);
    const std::weak_ptr<segment_store> left = store;
    store.reset();
    std::memset(one->data(), 1, one->capacity());
    BOOST_TEST(!left.expired());
    one.reset();
    BOOST_TEST(left.expired());
}

BOOST_AUTO_TEST_CASE(many_threads_never_have_the_same_one) {
    const auto store = std::make_shared<segment_store>();
    std::vector<std::thread> threads;
    std::atomic<int> shared_ones{0};
    std::atomic<int> taken{0};
    for (int id = 1; id <= 6; ++id) {
        threads.emplace_back([&, id] {
            for (int round = 0; round != 2'000; ++round) {
                const auto one = store->segment(some);
                if (!one) continue;
                ++taken;
                // Plain accesses: TSan sees two owners.
                std::memset(one->data(), id, 256);
                if (round % 50 == 0) one->lend();
                std::this_thread::yield();
                for (int i = 0; i != 256; ++i) {
                    if (static_cast<int>(one->data()[i]) != id) ++shared_ones;
                }
            }
        });
    }
    for (auto& one : threads) one.join();
    BOOST_TEST(shared_ones == 0);
    BOOST_TEST(taken > 0);
    BOOST_TEST(take_all(*store).size() == segment_store::segments_max);
}

BOOST_AUTO_TEST_CASE(whoever_gets_the_descriptor_can_only_read) {
    const auto store = std::make_shared<segment_store>();
    const auto one = store->segment(some);
    BOOST_REQUIRE(one);
    std::memset(one->data(), 7, some);
    BOOST_TEST(::write(one->fd(), "x", 1) == -1);
    BOOST_TEST(::ftruncate(one->fd(), 1) == -1);
    BOOST_TEST(::fallocate(one->fd(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) == -1);
    errno = 0;
    BOOST_TEST(::mmap(nullptr, some, PROT_READ | PROT_WRITE, MAP_SHARED, one->fd(), 0) ==
               MAP_FAILED);
    BOOST_TEST(errno == EPERM);

    shared_payload seen(bulkhead::os::unique_fd(::fcntl(one->fd(), F_DUPFD_CLOEXEC, 0)), some);
    BOOST_TEST(static_cast<int>(seen.data()[some - 1]) == 7);
    BOOST_TEST(::mprotect(seen.data(), some, PROT_READ | PROT_WRITE) == -1);
    std::memset(one->data(), 8, some);
    BOOST_TEST(static_cast<int>(seen.data()[some - 1]) == 8);
}

BOOST_AUTO_TEST_CASE(a_worker_knows_the_last_ones_again) {
    known_segments known;
    const auto made = [] { return std::make_shared<shared_payload>(4096); };
    std::vector<segment> all;
    for (std::uint64_t id = 1; id <= segment_store::segments_max; ++id) {
        all.push_back(made());
        known.keep(id, all.back());
    }
    for (std::uint64_t id = 1; id <= all.size(); ++id) {
        BOOST_TEST((known.find(id) == all[id - 1]));
    }
    BOOST_TEST((known.find(1) == all[0]));  // now 2 was used least recently
    known.keep(100, made());
    BOOST_TEST(!known.find(2));
    BOOST_TEST((known.find(1) == all[0]));
    known.age();
    BOOST_TEST(known.any());
    known.drop();
    BOOST_TEST(!known.any());
    BOOST_TEST(!known.find(1));
}

BOOST_AUTO_TEST_SUITE_END()
