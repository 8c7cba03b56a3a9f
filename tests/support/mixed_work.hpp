// Tasks of every kind at once, and the check that each ended as it must.
#pragma once

#include "support/scene.hpp"

#include <array>
#include <cstring>
#include <map>
#include <ranges>

namespace test {

inline constexpr std::size_t large_bytes = std::size_t{25} << 20;  // goes through memory of its own
inline constexpr std::size_t middle_bytes = std::size_t{1} << 20;  // goes through the arena

inline int logged_square(const fs::path& log, int number) {
    append_line(log, std::to_string(number));
    return number * number;
}
inline std::string logged_echo(const fs::path& log, int number, std::string bytes) {
    append_line(log, std::to_string(number));
    return bytes;
}
inline std::string logged_fill(const fs::path& log, int number, std::size_t bytes) {
    append_line(log, std::to_string(number));
    return std::string(bytes, 'f');
}
inline int logged_pause(const fs::path& log, int number, const fs::path& may_end) {
    append_line(log, std::to_string(number));
    bulkhead::report_progress(1, 2);
    await(may_end);
    bulkhead::report_progress(2, 2);
    return number * number;
}

/// A path that a closure may hold.
inline std::array<char, 256> fixed_path(const fs::path& path) {
    std::array<char, 256> text{};
    path.string().copy(text.data(), text.size() - 1);
    return text;
}

inline bulkhead::shared_value<int> logged_share(const fs::path& log, int number) {
    append_line(log, std::to_string(number));
    return bulkhead::shared_value<int>(number * number);
}

inline int logged_nap(const fs::path& log, int number) {
    append_line(log, std::to_string(number));
    ::usleep(150);
    return number * number;
}

struct outcome_counts {
    int right = 0;
    int wrong = 0;
    int crashed = 0;
    int cancelled = 0;
    /// Of the crashed ones, items of map(), which knows no retries.
    int items_crashed = 0;
    /// Tasks that ran more than once, or ended well without having run.
    int miscounted = 0;
};

struct mixed_work {
    int retries = 0;
    /// Each takes longer than all else together.
    int large_results = sanitized ? 1 : 2;
};

/// Tasks small, middle-sized and large, in chunks, cancelled while they wait; one process may die in
/// between. `log` gets a line for each run of each task. With retries one task that was submitted may run
/// twice.
inline outcome_counts do_mixed_work(bulkhead::process_pool& pool, const fs::path& log,
                                    const mixed_work& wanted = {}) {
    using bulkhead::future;
    outcome_counts counts;
    const bulkhead::task_options as{.retries = wanted.retries};
    int number = 0;
    std::map<int, bool> ended_well;  // by number
    const auto end = [&](int task, auto&& is_right) {
        try {
            const bool right = is_right();
            ++(right ? counts.right : counts.wrong);
            ended_well[task] = true;
        } catch (const bulkhead::worker_crashed&) {
            ++counts.crashed;
            ended_well[task] = false;
        } catch (const bulkhead::task_cancelled&) {
            ++counts.cancelled;
            ended_well[task] = false;
        }
    };

    const auto do_quick_ones = [&] {
        for (int quick = 0; quick != 12; ++quick) {
            try {
                if (pool.submit(as, square, quick).get() != quick * quick) ++counts.wrong;
            } catch (const bulkhead::worker_crashed&) {
                ++counts.crashed;
            }
        }
    };

    for (int i = 0; i != 10; ++i, ++number) {
        auto f = pool.submit(as, logged_square, log, number);
        end(number, [&] { return f.get() == number * number; });
    }
    // Quick ones, after which a caller waits for the next one itself; that takes so long that it sleeps.
    for (int i = 0; i != 6; ++i, ++number) {
        do_quick_ones();
        auto f = pool.submit(as, logged_nap, log, number);
        end(number, [&] { return f.get() == number * number; });
    }
    std::map<int, future<int>> small;
    for (int i = 0; i != 40; ++i, ++number) {
        small[number] = pool.submit(as, logged_square, log, number);
    }
    for (auto& [task, f] : small) {
        end(task, [&, task = task, &f = f] { return f.get() == task * task; });
    }
    std::map<int, future<bulkhead::shared_value<int>>> shared;
    for (int i = 0; i != 20; ++i, ++number) {
        shared[number] = pool.submit(as, logged_share, log, number);
    }
    for (auto& [task, f] : shared) {
        end(task, [&, task = task, &f = f] { return *f.get() == task * task; });
    }
    // Some wait behind this one and are cancelled there: the worker passes them.
    const int pausing = number++;
    fs::path all_cancelled = log;
    all_cancelled += ".all_cancelled";
    fs::remove(all_cancelled);
    auto pause = pool.submit(as, logged_pause, log, pausing, all_cancelled);
    std::map<int, future<int>> behind;
    for (int i = 0; i != 12; ++i, ++number) {
        behind[number] = pool.submit(as, logged_square, log, number);
    }
    for (auto& [task, f] : behind) {
        if (task % 3 != 0) (void)f.cancel();
    }
    announce(all_cancelled);
    end(pausing, [&] { return pause.get() == pausing * pausing; });
    for (auto& [task, f] : behind) {
        end(task, [&, task = task, &f = f] { return f.get() == task * task; });
    }
    // After quick tasks one is put behind another. Taken back with nothing behind it, it is what the worker finds,
    // which then has nothing, or else the next task in its place.
    do_quick_ones();
    {
        const int first = number++;
        const int second = number++;
        fs::path taken_back = log;
        taken_back += ".taken_back";
        fs::remove(taken_back);
        auto long_one = pool.submit(as, logged_pause, log, first, taken_back);
        auto waiting = pool.submit(as, logged_square, log, second);
        (void)waiting.cancel();
        announce(taken_back);
        end(first, [&] { return long_one.get() == first * first; });
        end(second, [&] { return waiting.get() == second * second; });
    }
    {
        const int last = number++;
        auto f = pool.submit(as, logged_square, log, last);
        end(last, [&] { return f.get() == last * last; });
    }
    for (int i = 0; i != 4; ++i, ++number) {
        const std::string bytes(middle_bytes, static_cast<char>('a' + i));
        auto f = pool.submit(as, logged_echo, log, number, bytes);
        end(number, [&] { return f.get() == bytes; });
    }
    for (int i = 0; i != wanted.large_results; ++i, ++number) {
        auto f = pool.submit(as, logged_fill, log, number, large_bytes);
        end(number, [&] {
            const std::string filled = f.get();
            // Each byte like the one before it: no second string of that size in each trial.
            return filled.size() == large_bytes && filled[0] == 'f' &&
                   std::memcmp(filled.data(), filled.data() + 1, large_bytes - 1) == 0;
        });
    }
    const int submitted = number;
    const int crashed_of_submitted = counts.crashed;
    const auto end_each = [&](auto items, int first, auto value_of) {
        int item = first;
        for (auto it = items.begin(); it != items.end(); ++it, ++item) {
            end(item, [&] { return value_of(*it) == item * item; });
        }
        if (item != number) counts.wrong += number - item;
    };
    const auto itself = [](int value) { return value; };
    const int first_item = number;
    number += 60;
    end_each(pool.map(bulkhead::map_options{.chunk_size = 20}, logged_square,
                      std::vector<fs::path>(60, log), std::views::iota(first_item, number)),
             first_item, itself);
    // Plain numbers, which travel as an array.
    const int first_number = number;
    number += 60;
    end_each(pool.map(
                 bulkhead::map_options{.chunk_size = 20},
                 [to = fixed_path(log)](int one) {
                     append_line(to.data(), std::to_string(one));
                     return one * one;
                 },
                 std::views::iota(first_number, number)),
             first_number, itself);
    // Of which each refers to something.
    const int first_shared = number;
    number += 30;
    end_each(pool.map(bulkhead::map_options{.chunk_size = 15}, logged_share,
                      std::vector<fs::path>(30, log), std::views::iota(first_shared, number)),
             first_shared, [](const bulkhead::shared_value<int>& value) { return *value; });

    counts.items_crashed = counts.crashed - crashed_of_submitted;

    std::map<int, int> runs;
    for (const auto& line : lines_of(log)) ++runs[std::stoi(line)];
    int again = wanted.retries == 0 ? 0 : 1;
    for (int task = 0; task != number; ++task) {
        const int ran = runs[task];
        const bool was_retried = ran == 2 && task < submitted && again != 0;
        if (was_retried) --again;
        if ((ran > 1 && !was_retried) || (ended_well[task] && ran == 0)) ++counts.miscounted;
    }
    return counts;
}

}  // namespace test
