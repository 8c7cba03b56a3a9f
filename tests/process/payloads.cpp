// Arguments and results of every size and shape there and back.
#include "support/scene.hpp"

#include <array>
#include <atomic>
#include <cstdint>
#include <cstdlib>
#include <cstring>
#include <deque>
#include <fstream>
#include <list>
#include <map>
#include <memory>
#include <new>
#include <numeric>
#include <optional>
#include <set>
#include <span>
#include <sys/mman.h>
#include <thread>
#include <unordered_map>
#include <unordered_set>
#include <variant>

#if !TEST_THREAD_SANITIZER  // its own operator new cannot be replaced
namespace {

constexpr std::size_t nothing_refused = SIZE_MAX;
/// From this size on there is no memory in this process.
std::atomic<std::size_t> refused_from{nothing_refused};

void* allocate(std::size_t bytes) noexcept {
    return bytes >= refused_from ? nullptr : std::malloc(bytes != 0 ? bytes : 1);
}

}  // namespace

// Not inline: GCC 12 would take each pair of operator new and free() for a mismatch.
[[gnu::noinline]] void* operator new(std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes);
}
[[gnu::noinline]] void* operator new(std::size_t bytes) {
    if (void* memory = allocate(bytes)) return memory;
    throw std::bad_alloc();
}
[[gnu::noinline]] void* operator new[](std::size_t bytes, const std::nothrow_t&) noexcept {
    return allocate(bytes);
}
[[gnu::noinline]] void* operator new[](std::size_t bytes) { return ::operator new(bytes); }
[[gnu::noinline]] void operator delete(void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete(void* memory, std::size_t) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory) noexcept { std::free(memory); }
[[gnu::noinline]] void operator delete[](void* memory, std::size_t) noexcept { std::free(memory); }
#endif

namespace {

using namespace test;
using bulkhead::future;
using bulkhead::process_pool;

struct point {
    int x;
    double y;
    friend bool operator==(const point&, const point&) = default;
};
struct person {
    std::string name;
    std::vector<point> path;
    std::optional<int> age;
    friend bool operator==(const person&, const person&) = default;
};

class opaque {
public:
    explicit opaque(std::string text) : text_(std::move(text)) {}
    [[nodiscard]] const std::string& text() const { return text_; }

private:
    std::string text_;
};

template <class T>
T echo(T value) {
    return value;
}

template <class T>
void check_echo(process_pool& pool, const T& value) {
    BOOST_TEST((pool.submit(echo<T>, value).get() == value));
}

/// No piece of a large result is a whole number of these.
struct odd {
    std::uint32_t words[3];
    friend bool operator==(const odd&, const odd&) = default;
};

std::vector<odd> odd_ones(std::uint32_t n) {
    std::vector<odd> values(n);
    for (std::uint32_t i = 0; i != n; ++i) values[i] = {{i, i * i, ~i}};
    return values;
}

/// Bytes that tell where they are.
std::vector<std::uint8_t> pattern(std::size_t n) {
    std::vector<std::uint8_t> bytes(n);
    for (std::size_t i = 0; i != n; ++i) bytes[i] = static_cast<std::uint8_t>(i * 31 + i / 253);
    return bytes;
}

/// Tries to get write access to what this process has of a parent's payloads, and uses it.
std::string overwrite_payloads() {
    int seen = 0;
    int overwritten = 0;
    std::ifstream maps("/proc/self/maps");
    for (std::string line; std::getline(maps, line);) {
        if (line.find("memfd:bulkhead-payload") == std::string::npos) continue;
        ++seen;
        char* end = nullptr;
        const auto first = std::strtoull(line.c_str(), &end, 16);
        const auto last = std::strtoull(end + 1, nullptr, 16);
        auto* memory = reinterpret_cast<void*>(first);
        if (::mprotect(memory, last - first, PROT_READ | PROT_WRITE) != 0) continue;
        ++overwritten;
        std::memset(memory, 0xff, last - first);
    }
    return std::to_string(seen) + " seen, " + std::to_string(overwritten) + " overwritten";
}

}  // namespace

template <>
struct bulkhead::codec<opaque> {
    static void encode(encoder& out, const opaque& value) { out.write(value.text()); }
    static opaque decode(decoder& in) { return opaque(in.read<std::string>()); }
};

BOOST_FIXTURE_TEST_SUITE(payloads, scene)

BOOST_AUTO_TEST_CASE(bytes_of_every_size_come_back_as_they_went) {
    process_pool pool(1);
    // Around what fits into an envelope, an encoder's stack, an arena, a segment.
    std::vector<std::size_t> sizes;
    for (const std::size_t edge :
         {0UL, 200UL, 512UL, 4096UL, 256UL << 10, 1UL << 20, 2UL << 20, 8UL << 20}) {
        for (std::size_t below = 0; below <= 24 && below <= edge; below += 4) {
            sizes.push_back(edge - below);
        }
        sizes.push_back(edge + 1);
    }
    for (const std::size_t size : sizes) {
        const auto bytes = pattern(size);
        BOOST_TEST((pool.submit(echo<std::vector<std::uint8_t>>, bytes).get() == bytes),
                   size << " bytes");
    }
    check_echo(pool, pattern(16 << 20));
    BOOST_TEST(pool.stats().crashed == 0U);
}

BOOST_AUTO_TEST_CASE(large_values_of_every_shape_come_back_as_they_went) {
    process_pool pool(1);
    check_echo(pool, odd_ones(100'003));
    check_echo(pool, std::string(1'000'001, 's'));
    check_echo(pool, std::u32string(300'001, U's'));
    check_echo(pool, std::vector<double>(1'000'001, 0.5));
    check_echo(pool, std::vector<std::string>(1000, std::string(1000, 'x')));
    check_echo(pool, std::pair(7, odd_ones(100'003)));
    // Results that wait for their turn beside one that is not taken.
    auto ignored = pool.submit(odd_ones, 500'000);
    auto first = pool.submit(odd_ones, 400'000);
    auto second = pool.submit(odd_ones, 300'000);
    BOOST_TEST((second.get() == odd_ones(300'000)));
    BOOST_TEST((first.get() == odd_ones(400'000)));
}

BOOST_AUTO_TEST_CASE(what_is_moved_in_arrives_whole_among_other_arguments) {
    process_pool pool(1);
    using bytes = std::vector<std::uint8_t>;
    const auto all = [](const std::string& before, bytes a, int between, std::u32string b,
                        std::vector<odd> c, bytes d) {
        return std::tuple(before, std::move(a), between, std::move(b), std::move(c), std::move(d));
    };
    // Below, around and above what is kept; 24 MiB in all are a segment.
    for (const std::size_t n :
         {0U, 1'000U, 65'535U, 65'536U, 300'001U, 6U << 20, 23U << 20, 30U << 20}) {
        for (const std::size_t last : {std::size_t{3}, n}) {
            auto a = pattern(n);
            std::u32string b(n / 8, U'b');
            auto c = odd_ones(static_cast<std::uint32_t>(n / 24));
            const auto d = pattern(last);  // copied
            const auto expected = std::tuple(std::string("before"), a, 7, b, c, d);
            auto result = pool.submit(all, std::string("before"), std::move(a), 7, std::move(b),
                                      std::move(c), d);
            BOOST_TEST((result.get() == expected), n << " bytes");
            BOOST_TEST(d.size() == last);
        }
    }
    // Const ones cannot be taken over.
    const auto constant = pattern(1 << 20);
    BOOST_TEST((pool.submit(echo<bytes>, std::move(constant)).get() == constant));
}

BOOST_AUTO_TEST_CASE(what_is_moved_in_is_there_for_another_run) {
    process_pool pool(1);
    const auto marker = file("ran");
    const auto crashes_once = [](const std::string& path, const std::vector<std::uint8_t>& bytes) {
        if (!fs::exists(path)) {
            std::ofstream(path) << "x";
            ::raise(SIGKILL);
        }
        return bytes.size() + bytes.back();
    };
    auto bytes = pattern(3 << 20);
    const auto expected = bytes.size() + bytes.back();
    auto sent = pool.submit({.retries = 1}, crashes_once, marker.string(), std::move(bytes));
    auto behind = pool.submit(echo<std::string>, std::string(2 << 20, 'q'));
    BOOST_TEST(sent.get() == expected);
    BOOST_TEST((behind.get() == std::string(2 << 20, 'q')));
    BOOST_TEST(pool.stats().retried == 1U);
}

BOOST_AUTO_TEST_CASE(arguments_for_another_run_cannot_be_spoilt_by_the_worker_that_has_them) {
    process_pool pool(1);
    for (const std::size_t size : {3U << 20, 30U << 20}) {
        const auto found = file("found." + std::to_string(size));
        const auto vandal = [](const std::string& path, const std::vector<std::uint8_t>& bytes) {
            if (!fs::exists(path)) {
                std::ofstream(path) << overwrite_payloads();
                ::raise(SIGKILL);
            }
            return bytes;
        };
        const auto bytes = pattern(size);
        BOOST_TEST((pool.submit({.retries = 1}, vandal, found.string(), bytes).get() == bytes),
                   size << " bytes");
        BOOST_TEST(!content(found).starts_with("0 seen"));
        BOOST_TEST(content(found).ends_with(", 0 overwritten"));
    }
    BOOST_TEST(pool.stats().retried == 2U);
}

BOOST_AUTO_TEST_CASE(large_arguments_of_many_cancelled_tasks_do_not_keep_others_out) {
    const auto length = [](const std::string& text) { return text.size(); };
    const std::string large(std::size_t{1} << 20, 'x');
    const std::string largest(std::size_t{30} << 20, 'y');
    const bulkhead::worker_initializer with_large{[](const std::string&) {}, largest};
    for (const bool initialised : {false, true}) {
        process_pool pool(
            {.workers = 1,
             .initializer = initialised ? with_large : bulkhead::worker_initializer()});
        for (int i = 0; i != 20; ++i) (void)pool.submit(square, i).get();  // quick ones
        const auto may_end = file(initialised ? "may end" : "may end too");
        auto long_one = pool.submit([](const std::string& path) { await(path); }, may_end.string());
        for (int i = 0; i != 400; ++i) BOOST_TEST(pool.submit(length, large).cancel());
        announce(may_end);
        long_one.get();
        BOOST_TEST(pool.submit(length, large).get() == large.size());
        BOOST_TEST(pool.submit(length, largest).get() == largest.size());
    }
}

BOOST_AUTO_TEST_CASE(large_arguments_of_many_threads_do_not_mix_also_when_tasks_are_cut_short) {
    process_pool pool(2);
    const auto sum = [](const std::vector<std::uint32_t>& values, bool hangs) {
        while (hangs) std::this_thread::sleep_for(std::chrono::seconds(1));
        return std::accumulate(values.begin(), values.end(), std::uint64_t{0});
    };
    std::atomic<int> wrong{0};
    std::vector<std::thread> callers;
    for (std::uint32_t who = 0; who != 4; ++who) {
        callers.emplace_back([&, who] {
            for (std::uint32_t round = 0; round != (sanitized ? 6U : 20U); ++round) {
                const std::size_t count = (300'000U << who) + round;
                const std::uint32_t each = who * 100 + round;
                const std::vector<std::uint32_t> values(count, each);
                auto right = pool.submit(sum, values, false);
                auto cut = pool.submit(sum, values, true);
                if (right.get() != count * each) ++wrong;
                if (!cut.cancel()) ++wrong;
            }
        });
    }
    for (auto& one : callers) one.join();
    BOOST_TEST(wrong == 0);
}

BOOST_AUTO_TEST_CASE(what_a_full_pool_refuses_is_not_moved_from) {
    process_pool pool({.workers = 1, .backlog_max = 1});
    auto bytes = pattern(1 << 20);
    std::vector<future<std::vector<std::uint8_t>>> taken;
    const auto hold = [](std::vector<std::uint8_t> b) {
        std::this_thread::sleep_for(std::chrono::milliseconds(50));
        return b;
    };
    while (true) {
        auto next = pool.try_submit(hold, std::move(bytes));
        if (!next) break;
        taken.push_back(std::move(*next));
        bytes = pattern(1 << 20);
    }
    BOOST_TEST((bytes == pattern(1 << 20)));
    for (auto& f : taken) BOOST_TEST((f.get() == bytes));
}

BOOST_AUTO_TEST_CASE(many_large_payloads_at_once_come_back_whole) {
    process_pool pool(2);
    for (const std::size_t size : {300UL, 100'000UL, 1'500'000UL, 3'000'000UL}) {
        const std::size_t count = (size < 1'000'000 ? 400 : 40) / (sanitized ? 4 : 1);
        std::vector<future<std::vector<std::uint8_t>>> all;
        const auto bytes = pattern(size);
        for (std::size_t i = 0; i != count; ++i) {
            all.push_back(pool.submit(echo<std::vector<std::uint8_t>>, bytes));
        }
        for (auto& f : all) BOOST_TEST((f.get() == bytes));
    }
}

BOOST_AUTO_TEST_CASE(a_large_result_is_whole_when_its_worker_dies_in_the_next_task) {
    constexpr std::size_t bytes = std::size_t{16} << 20;
    const auto expected = pattern(bytes);
    process_pool pool(1);
    for (int round = 0; round != (sanitized ? 5 : 20); ++round) {
        auto large = pool.submit(pattern, bytes);
        auto fatal = pool.submit([] { ::raise(SIGKILL); });
        auto small = pool.submit(square, round);
        BOOST_TEST((large.get() == expected));
        BOOST_CHECK_THROW(fatal.get(), bulkhead::worker_crashed);
        BOOST_TEST(small.get() == round * round);
    }
}

#if !TEST_THREAD_SANITIZER
BOOST_AUTO_TEST_CASE(a_large_result_that_there_is_no_memory_for_fails_its_own_task) {
    process_pool pool(1);
    const auto fails = [&](std::size_t bytes, auto task) {
        refused_from = bytes;  // before the task, whose result may come at once
        auto large = pool.submit(task, bytes);
        large.wait();
        refused_from = nothing_refused;
        BOOST_CHECK_THROW((void)large.get(), std::bad_alloc);
        BOOST_TEST(pool.submit(square, 4).get() == 16);
    };
    for (const std::size_t bytes : {100'000U, 300'000U, 16U << 20}) {
        fails(bytes, pattern);
        fails(bytes, [](std::size_t n) { return std::pair(1, pattern(n)); });
    }
}
#endif

BOOST_AUTO_TEST_CASE(small_results_come_whole_between_the_pieces_of_large_ones) {
    const auto size_of = [](int i) {
        return (std::size_t{1} << 20) * static_cast<std::size_t>(1 + i % 6) +
               static_cast<std::size_t>(i);
    };
    process_pool pool(2);
    std::vector<future<std::vector<std::uint8_t>>> large;
    std::vector<future<int>> small;
    for (int i = 0; i != 12; ++i) {
        large.push_back(pool.submit(pattern, size_of(i)));
        for (int k = 0; k != 200; ++k) small.push_back(pool.submit(square, k));
    }
    for (std::size_t i = 0; i != small.size(); ++i) {
        const int k = static_cast<int>(i % 200);
        BOOST_TEST(small[i].get() == k * k);
    }
    for (int i = 0; i != 12; ++i) {
        BOOST_TEST((large[static_cast<std::size_t>(i)].get() == pattern(size_of(i))));
    }
}

BOOST_AUTO_TEST_CASE(a_large_result_of_a_small_argument_and_the_other_way_round) {
    process_pool pool(1);
    BOOST_TEST((pool.submit(pattern, std::size_t{20'000'000}).get() == pattern(20'000'000)));
    BOOST_TEST(
        pool.submit([](const std::string& s) { return s.size(); }, std::string(20'000'000, 'x'))
            .get() == 20'000'000U);
}

BOOST_AUTO_TEST_CASE(standard_types_travel_both_ways) {
    process_pool pool(1);
    check_echo(pool, true);
    check_echo(pool, 'c');
    check_echo(pool, -1.5);
    check_echo(pool, std::uint64_t{1} << 63);
    check_echo(pool, std::string("a\0b", 3));
    check_echo(pool, std::vector<std::string>{"", "a", std::string(1000, 'b')});
    check_echo(pool, std::vector<bool>{true, false, true});
    check_echo(pool, std::array<int, 3>{1, 2, 3});
    check_echo(pool, std::pair<int, std::string>(1, "x"));
    check_echo(pool, std::tuple<int, std::string, double>(1, "y", 2.5));
    check_echo(pool, std::optional<std::string>("z"));
    check_echo(pool, std::optional<std::string>());
    check_echo(pool, std::variant<int, std::string>("v"));
    check_echo(pool, std::map<std::string, std::vector<int>>{{"k", {1, 2}}, {"l", {}}});
    check_echo(pool, std::set<int>{3, 1, 2});
    check_echo(pool, std::unordered_map<int, std::string>{{1, "one"}});
    check_echo(pool, std::unordered_set<std::string>{"u"});
    check_echo(pool, std::deque<int>{1, 2});
    check_echo(pool, std::list<std::string>{"l"});
    check_echo(pool, fs::path("/some/path"));
    check_echo(pool, std::chrono::milliseconds(5));
    check_echo(pool, std::chrono::system_clock::now());
    check_echo(pool, point{1, 2.5});
    check_echo(pool, person{"Ada", {{1, 2}, {3, 4}}, 36});
    BOOST_TEST(pool.submit(echo<opaque>, opaque("hidden")).get().text() == "hidden");
}

BOOST_AUTO_TEST_CASE(results_that_can_only_be_moved_travel) {
    process_pool pool(1);
    auto f = pool.submit(
        [](std::unique_ptr<std::string> p) {
            *p += " back";
            return p;
        },
        std::make_unique<std::string>("there and"));
    BOOST_TEST(*f.get() == "there and back");
    BOOST_TEST((pool.submit([] { return std::unique_ptr<int>(); }).get() == nullptr));
}

BOOST_AUTO_TEST_CASE(arguments_are_converted_to_the_parameters_types_here) {
    process_pool pool(1);
    BOOST_TEST(pool.submit([](const std::string& s) { return s + "!"; }, "abc").get() == "abc!");
    BOOST_TEST(pool.submit([](std::string_view s) { return s.size(); }, "four").get() == 4U);
    BOOST_TEST(
        pool.submit([](std::span<const int> s) { return s.size(); }, std::vector<int>{1, 2, 3})
            .get() == 3U);
    BOOST_TEST(pool.submit([](double x) { return x / 2; }, 5).get() == 2.5);
    BOOST_TEST(pool.submit([](std::string&& s) { return std::move(s) + "?"; }, "moved").get() ==
               "moved?");
    const std::string kept = "kept";
    BOOST_TEST(pool.submit([](std::string s) { return s; }, kept).get() == kept);
    BOOST_TEST(kept == "kept");
}

BOOST_AUTO_TEST_CASE(a_void_task_gives_nothing_and_a_reference_result_is_copied) {
    process_pool pool(1);
    BOOST_CHECK_NO_THROW(pool.submit([] {}).get());
    BOOST_TEST(pool.submit([]() -> const std::string& {
                       static const std::string text = "static";
                       return text;
                   })
                   .get() == "static");
}

BOOST_AUTO_TEST_CASE(handles_travel_in_arguments_and_results) {
    process_pool pool(2);
    const bulkhead::queue<int> q;
    const bulkhead::guarded<int> sum(0);
    std::vector<future<void>> all;
    for (int i = 0; i != 20; ++i) {
        all.push_back(pool.submit(
            [](const bulkhead::queue<int>& to, const bulkhead::guarded<int>& into, int value) {
                to.put(value);
                into.with_lock([&](int& s) { s += value; });
            },
            q, sum, i));
    }
    for (auto& f : all) f.get();
    BOOST_TEST(q.size() == 20U);
    BOOST_TEST(sum.get() == 190);
    const auto made = pool.submit([] {
                              bulkhead::queue<std::string> fresh;
                              fresh.put("from a worker");
                              return fresh;
                          })
                          .get();
    BOOST_TEST(made.get() == "from a worker");
}

BOOST_AUTO_TEST_SUITE_END()
