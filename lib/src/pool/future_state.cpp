// Waiting, waking and callbacks of a future.
#include <bulkhead/detail/future_state.hpp>
#include <bulkhead/error.hpp>

#include "os/futex.hpp"

#include <climits>
#include <string>

namespace bulkhead::detail {

struct future_state::callback {
    std::function<void()> function;
    callback* next = nullptr;
};

namespace {

/// Who has less time does not help: that may take about as long.
constexpr std::chrono::milliseconds help_time_min{1};

/// Seals the stack: whoever finds it runs the callback at once.
template <class Node>
Node* sealed() noexcept {
    static char mark;
    return reinterpret_cast<Node*>(&mark);
}

class failed_state final : public future_state {
public:
    explicit failed_state(std::exception_ptr error,
                          std::function<void(const std::exception_ptr&)> report)
        // NOLINTNEXTLINE(bugprone-throw-keyword-missing): it is kept, not thrown
        : error_(std::move(error)), report_(std::move(report)) {
        finish();
    }
    [[nodiscard]] bool running() const override { return false; }
    [[nodiscard]] bool cancelled() const override { return false; }
    [[nodiscard]] bool failed() const override { return true; }
    bool cancel() override { return false; }
    void request_cancel() override {}
    void abandon() override {}
    [[noreturn]] void take(result_reader, void*) override {
        std::rethrow_exception(std::exchange(error_, nullptr));
    }

private:
    void callback_failed(std::exception_ptr error) noexcept override { report_(error); }

    std::exception_ptr error_;
    std::function<void(const std::exception_ptr&)> report_;
};

}  // namespace

future_state::~future_state() {
    callback* at = callbacks_.load(std::memory_order_acquire);
    while (at != nullptr && at != sealed<callback>()) {
        delete std::exchange(at, at->next);
    }
}

bool future_state::wait(std::optional<clock::time_point> deadline) {
    std::uint32_t word = word_.load(std::memory_order_acquire);
    if ((word & done_bit) != 0) return true;
    check_process();
    if (deadline.value_or(clock::time_point::max()) == clock::time_point::max()) {
        check_endless_wait();
    }
    if (!deadline || *deadline > clock::now() + help_time_min) {
        help(deadline.value_or(clock::time_point::max()));
        word = word_.load(std::memory_order_acquire);
    }
    while ((word & done_bit) == 0) {
        if ((word & waiters_bit) == 0 &&
            !word_.compare_exchange_weak(word, word | waiters_bit, std::memory_order_acquire)) {
            continue;
        }
        const bool in_time =
            os::futex_wait(word_, waiters_bit, deadline, os::futex_scope::process_private);
        word = word_.load(std::memory_order_acquire);
        if (!in_time) return (word & done_bit) != 0;
    }
    return true;
}

bool future_state::publish() noexcept {
    // Release publishes the outcome to whoever sees the bit.
    return (word_.exchange(done_bit, std::memory_order_acq_rel) & waiters_bit) != 0;
}

void future_state::tell(bool has_waiters) noexcept {
    wake(has_waiters);
    run_callbacks();
}

void future_state::wake(bool has_waiters) noexcept {
    if (has_waiters) {
        os::futex_wake(word_, INT_MAX, os::futex_scope::process_private);
    }
}

bool future_state::seal_callbacks() noexcept {
    callback* none = nullptr;
    return callbacks_.compare_exchange_strong(none, sealed<callback>(),
                                              std::memory_order_acq_rel) ||
           none == sealed<callback>();
}

void future_state::run_callbacks() noexcept {
    callback* newest = callbacks_.exchange(sealed<callback>(), std::memory_order_acq_rel);
    if (newest == sealed<callback>()) return;
    callback* oldest = nullptr;
    while (newest != nullptr) {
        callback* next = newest->next;
        newest->next = oldest;
        oldest = std::exchange(newest, next);
    }
    while (oldest != nullptr) {
        run(oldest->function);
        delete std::exchange(oldest, oldest->next);
    }
}

void future_state::run(std::function<void()>& function) noexcept {
    try {
        function();
    } catch (...) {
        callback_failed(std::current_exception());
    }
}

void future_state::on_done(std::function<void()> callback_function) {
    // Between publish() and tell() too: who sees done() has the callback run at once.
    if (done()) run_callbacks();
    auto* node = new callback{std::move(callback_function)};
    node->next = callbacks_.load(std::memory_order_acquire);
    while (node->next != sealed<callback>()) {
        if (callbacks_.compare_exchange_weak(node->next, node, std::memory_order_acq_rel)) return;
    }
    run(node->function);
    delete node;
}

state_ptr make_failed_state(std::exception_ptr error,
                            std::function<void(const std::exception_ptr&)> report) {
    return state_ptr(new failed_state(std::move(error), std::move(report)));
}

void throw_no_state(const char* member) {
    throw usage_error(
        std::string("bulkhead: ") + member +
        "() on a future that holds no result to come: it is a default-constructed one, "
        "was moved from, or get() has taken the result already");
}

void throw_taken_already() {
    throw usage_error(
        "bulkhead: get() on a future whose result has been taken already: by the future of a "
        "callback of on_done()");
}

}  // namespace bulkhead::detail
