/// @file
/// Learns of the ends of several futures in the order in which they come.
#pragma once

#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/future_state.hpp>

#include <cstddef>
#include <memory>
#include <optional>
#include <utility>
#include <vector>

namespace bulkhead::detail {

/// Shared with the futures that have not ended: it may outlive the wait.
class completion_watch {
public:
    [[nodiscard]] static std::shared_ptr<completion_watch> over(
        const std::vector<future_state*>& states);
    /// Over none yet.
    [[nodiscard]] static std::shared_ptr<completion_watch> make();
    /// One more; `index` is what next() gives for it.
    virtual void add(future_state& state, std::size_t index) = 0;
    virtual ~completion_watch() = default;
    completion_watch(const completion_watch&) = delete;
    completion_watch& operator=(const completion_watch&) = delete;

    /// The index of the next that is done, each once; nullopt when the deadline passed first.
    [[nodiscard]] virtual std::optional<std::size_t> next(deadline until) = 0;

protected:
    completion_watch() = default;
};

/// Indices of those that are done and of the others.
[[nodiscard]] std::pair<std::vector<std::size_t>, std::vector<std::size_t>> wait_for_states(
    const std::vector<future_state*>& states, bool for_all, bool for_error, deadline until);

/// Throws usage_error when one is null.
void check_valid(const std::vector<future_state*>& states);
[[noreturn]] void throw_wait_timeout(std::size_t pending);

}  // namespace bulkhead::detail
