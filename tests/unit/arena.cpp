// channel::arena: blocks that never overlap, and memory that comes back.
#include "channel/arena.hpp"

#include <boost/test/unit_test.hpp>

#include <algorithm>
#include <iterator>
#include <map>
#include <random>
#include <vector>

namespace {

constexpr std::size_t total = 1 << 16;

std::size_t rounded(std::size_t bytes) { return bytes == 0 ? 64 : (bytes + 63) / 64 * 64; }

}  // namespace

BOOST_AUTO_TEST_SUITE(arena)

BOOST_AUTO_TEST_CASE(a_fresh_arena_gives_all_it_has_and_no_more) {
    bulkhead::channel::arena a(total);
    BOOST_TEST(a.empty());
    BOOST_TEST(!a.allocate(total + 1).has_value());
    BOOST_TEST(a.allocate(total).value() == 0U);
    BOOST_TEST(!a.empty());
    BOOST_TEST(!a.allocate(1).has_value());
    a.release(0);
    BOOST_TEST(a.empty());
    BOOST_TEST(a.allocate(total).has_value());
}

BOOST_AUTO_TEST_CASE(blocks_are_aligned_and_even_an_empty_one_has_a_place) {
    bulkhead::channel::arena a(256);
    BOOST_TEST(a.allocate(0).value() == 0U);
    BOOST_TEST(a.allocate(1).value() == 64U);
    BOOST_TEST(a.allocate(65).value() == 128U);
    BOOST_TEST(!a.allocate(0).has_value());
}

BOOST_AUTO_TEST_CASE(low_places_are_used_again_first) {
    bulkhead::channel::arena a(total);
    const auto first = a.allocate(100).value();
    (void)a.allocate(100);
    a.release(first);
    BOOST_TEST(a.allocate(128).value() == first);
}

BOOST_AUTO_TEST_CASE(neighbours_merge_in_every_order) {
    std::vector<std::size_t> order{0, 1, 2};
    do {
        bulkhead::channel::arena a(3 * 64);
        for (int i = 0; i != 3; ++i) (void)a.allocate(64);
        for (const auto block : order) a.release(block * 64);
        BOOST_TEST(a.empty());
        BOOST_TEST(a.allocate(3 * 64).has_value());
    } while (std::next_permutation(order.begin(), order.end()));
}

BOOST_AUTO_TEST_CASE(random_use_agrees_with_a_model) {
    for (unsigned seed = 1; seed != 30; ++seed) {
        BOOST_TEST_CONTEXT("seed " << seed) {
            std::mt19937 random(seed);
            bulkhead::channel::arena a(total);
            std::map<std::size_t, std::size_t> blocks;  // offset -> rounded bytes
            const auto largest_hole = [&] {
                std::size_t most = 0;
                std::size_t at = 0;
                for (const auto& [offset, bytes] : blocks) {
                    most = std::max(most, offset - at);
                    at = offset + bytes;
                }
                return std::max(most, total - at);
            };
            for (int round = 0; round != 3'000; ++round) {
                if (random() % 5 < 3) {
                    const std::size_t bytes = random() % (random() % 2 == 0 ? 200 : 8'000);
                    const auto offset = a.allocate(bytes);
                    BOOST_REQUIRE(offset.has_value() == (largest_hole() >= rounded(bytes)));
                    if (!offset) continue;
                    BOOST_REQUIRE(*offset % 64 == 0U);
                    const auto [at, inserted] = blocks.emplace(*offset, rounded(bytes));
                    BOOST_REQUIRE(inserted);
                    const auto next = std::next(at);
                    BOOST_REQUIRE(*offset + at->second <=
                                  (next == blocks.end() ? total : next->first));
                    BOOST_REQUIRE((at == blocks.begin() ||
                                   std::prev(at)->first + std::prev(at)->second <= *offset));
                } else if (!blocks.empty()) {
                    const auto at = std::next(
                        blocks.begin(), static_cast<std::ptrdiff_t>(random() % blocks.size()));
                    a.release(at->first);
                    blocks.erase(at);
                }
                BOOST_REQUIRE(a.empty() == blocks.empty());
            }
            for (const auto& [offset, bytes] : blocks) a.release(offset);
            BOOST_TEST(a.empty());
            BOOST_TEST(a.allocate(total).has_value());
        }
    }
}

BOOST_AUTO_TEST_SUITE_END()
