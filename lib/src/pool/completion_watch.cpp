// Waiting for several futures through their callbacks.
#include <bulkhead/detail/completion_watch.hpp>

#include "os/fork_count.hpp"

#include <bulkhead/error.hpp>

#include <condition_variable>
#include <deque>
#include <memory>
#include <mutex>
#include <string>

namespace bulkhead::detail {
namespace {

class watch_of_callbacks final : public completion_watch,
                                 public std::enable_shared_from_this<watch_of_callbacks> {
public:
    void add(future_state& state, std::size_t index) override {
        state.check_process();
        state.on_done([watch = shared_from_this(), index] { watch->ended(index); });
    }

    [[nodiscard]] std::optional<std::size_t> next(deadline until) override {
        if (made_.in_a_fork()) {
            throw usage_error(
                "bulkhead: a wait for tasks was begun in the process of which this is a fork: "
                "they end there");
        }
        std::unique_lock lock(mutex_);
        const auto one_is_there = [this] { return !ended_.empty(); };
        if (until == wait_for_ever) {
            wake_.wait(lock, one_is_there);
        } else if (!wake_.wait_until(lock, until, one_is_there)) {
            return std::nullopt;
        }
        const std::size_t index = ended_.front();
        ended_.pop_front();
        return index;
    }

private:
    void ended(std::size_t index) {
        {
            const std::lock_guard lock(mutex_);
            ended_.push_back(index);
        }
        wake_.notify_one();
    }

    os::fork_mark made_;
    std::mutex mutex_;
    std::condition_variable wake_;
    std::deque<std::size_t> ended_;
};

}  // namespace

std::shared_ptr<completion_watch> completion_watch::make() {
    return std::make_shared<watch_of_callbacks>();
}

std::shared_ptr<completion_watch> completion_watch::over(const std::vector<future_state*>& states) {
    auto watch = make();
    for (std::size_t i = 0; i != states.size(); ++i) watch->add(*states[i], i);
    return watch;
}

std::pair<std::vector<std::size_t>, std::vector<std::size_t>> wait_for_states(
    const std::vector<future_state*>& states, bool for_all, bool for_error, deadline until) {
    const auto holds = [&] {
        std::size_t done = 0;
        for (const auto* state : states) {
            if (!state->done()) continue;
            ++done;
            if (for_error && state->failed()) return true;
        }
        return done == states.size() || (!for_all && !for_error && done != 0);
    };
    if (for_all) {
        // In turn: no callbacks, which would stay with the futures when the time is over.
        for (auto* state : states) {
            if (!state->wait(until == wait_for_ever ? std::nullopt : std::optional(until))) break;
        }
    } else if (!holds() && until != wait_not_at_all) {
        const auto watch = completion_watch::over(states);
        while (!holds() && watch->next(until)) {
        }
    }
    std::pair<std::vector<std::size_t>, std::vector<std::size_t>> indices;
    for (std::size_t i = 0; i != states.size(); ++i) {
        (states[i]->done() ? indices.first : indices.second).push_back(i);
    }
    return indices;
}

void check_valid(const std::vector<future_state*>& states) {
    for (std::size_t i = 0; i != states.size(); ++i) {
        if (states[i] != nullptr) continue;
        throw usage_error("bulkhead: future " + std::to_string(i) +
                          " of those to wait for holds no result to come: it was moved from, or "
                          "get() has taken the result already");
    }
}

void throw_wait_timeout(std::size_t pending) {
    throw wait_timeout("bulkhead: " + std::to_string(pending) +
                       (pending == 1 ? " of the futures was" : " of the futures were") +
                       " not done in time");
}

}  // namespace bulkhead::detail
