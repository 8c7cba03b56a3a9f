/// @file
/// A queue between processes: anonymous, handed to them as an argument, or with a name.
/// @code
/// bulkhead::queue<int> q;
/// bulkhead::process writer(write_numbers, q);   // calls q.put(...) and at last q.close()
/// for (int v : q) std::cout << v << '\n';
/// @endcode
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/asio_bridge.hpp>
#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/handle.hpp>
#include <bulkhead/detail/queue_core.hpp>
#include <bulkhead/error.hpp>

#include <algorithm>
#include <chrono>
#include <concepts>
#include <cstddef>
#include <exception>
#include <iterator>
#include <memory>
#include <optional>
#include <ranges>
#include <span>
#include <string>
#include <type_traits>
#include <utility>
#include <vector>

namespace bulkhead {

struct queue_options {
    /// How many bytes of messages the queue holds before `put` waits; also the largest message. An
    /// int or a double has its own size, a string or a vector of such the size of its content, any
    /// other value what its codec<T> writes; each message costs 8 to 15 bytes more, for which there
    /// is room beside one message of full size. 1 byte to 1 TiB; not given: 16 MiB for an anonymous
    /// queue (memory is used as it fills), 1 MiB for a named one (allocated at once in /dev/shm).
    std::optional<std::size_t> capacity_bytes;
};

namespace detail {
/// Whose messages can be filled and read in the queue's own memory, which is aligned to 8 bytes.
template <class T>
concept lendable = travels_as_content<T> && alignof(typename T::value_type) <= 8;
}  // namespace detail

/// Room for a message in the queue's own memory: fill it, then put(). From queue::loan(). A contiguous
/// range of `Element`s, which are not initialised.
///
/// Until it ends, this thread has the queue for putting to itself: other writers wait (try_put and put_for for
/// up to 100 ms), and so does close(); readers do not. So it is for large messages and short times, and for the
/// scope and the thread that made it: destroyed by another thread, the queue stays this thread's until that
/// ends. If it ends without put(), or its process dies, there is no message, and the next writer goes on. Who
/// waits for a message while it has a loan waits for ever if only it could write it.
template <class Element>
class loaned_message {
public:
    explicit loaned_message(detail::queue_hold hold) noexcept : hold_(std::move(hold)) {}
    loaned_message(const loaned_message&) = delete;
    loaned_message& operator=(const loaned_message&) = delete;

    [[nodiscard]] Element* data() const noexcept { return elements().data(); }
    [[nodiscard]] std::size_t size() const noexcept { return elements().size(); }
    [[nodiscard]] Element* begin() const noexcept { return data(); }
    [[nodiscard]] Element* end() const noexcept { return data() + size(); }
    [[nodiscard]] Element& operator[](std::size_t index) const noexcept {
        return elements()[index];
    }

    /// All of it is a message now; data() ends. Throws usage_error the second time, and in another thread
    /// or process than made it.
    void put() { put(size()); }
    /// The first `count` elements of it. usage_error for more than there are.
    void put(std::size_t count) {
        if (!hold_.holds()) throw usage_error("bulkhead: a loaned message was put already");
        if (count > size()) {
            throw usage_error("bulkhead: of a loan of " + std::to_string(size()) + " elements " +
                              std::to_string(count) + " are put");
        }
        hold_.put(count * sizeof(Element));
    }

private:
    [[nodiscard]] std::span<Element> elements() const noexcept {
        const auto bytes = hold_.bytes();
        return {reinterpret_cast<Element*>(bytes.data()), bytes.size() / sizeof(Element)};
    }

    detail::queue_hold hold_;
};

/// A message, read in the queue's own memory. From queue::borrow(). A contiguous range of `Element`s.
///
/// Until it ends, this thread has the queue for getting to itself: other readers wait (try_get and get_for for
/// up to 100 ms), writers do not. So it is for short times, and for the scope and the thread that made it:
/// destroyed by another thread, the queue stays this thread's until that ends. The message is taken when it
/// ends; if its process dies before, it is still there, and the next reader gets it.
template <class Element>
class borrowed_message {
public:
    explicit borrowed_message(detail::queue_hold hold) noexcept : hold_(std::move(hold)) {}
    ~borrowed_message() {
        try {
            if (hold_.holds()) hold_.take();
        } catch (...) {  // damaged memory, or another thread's, which keeps it
        }
    }
    borrowed_message(const borrowed_message&) = delete;
    borrowed_message& operator=(const borrowed_message&) = delete;

    [[nodiscard]] const Element* data() const noexcept { return elements().data(); }
    [[nodiscard]] std::size_t size() const noexcept { return elements().size(); }
    [[nodiscard]] const Element* begin() const noexcept { return data(); }
    [[nodiscard]] const Element* end() const noexcept { return data() + size(); }
    [[nodiscard]] const Element& operator[](std::size_t index) const noexcept {
        return elements()[index];
    }

    /// Takes it before its end; data() ends. Throws usage_error in another thread or process than made it.
    void release() {
        if (hold_.holds()) hold_.take();
    }

private:
    [[nodiscard]] std::span<const Element> elements() const noexcept {
        const auto bytes = hold_.bytes();
        return {reinterpret_cast<const Element*>(bytes.data()), bytes.size() / sizeof(Element)};
    }

    detail::queue_hold hold_;
};

/// First in, first out, bounded in bytes, for any number of writing and reading threads of any
/// number of processes of one user. A copy is a handle of the same queue, and so is what a task or
/// process gets when the queue is its argument. Constness is the handle's: every operation is const.
///
/// Any of these processes may be killed at any instant: nobody hangs and the queue stays whole.
/// Every message whose `put` returned is received once; one whose `put` was cut short, once or not
/// at all; one that a killed reader had taken inside `get` may be lost with it (not so inside `borrow`). The order of one
/// writer is kept. Waiters are not served in a row: a writer of large messages may be overtaken by
/// writers of small ones.
///
/// An anonymous queue goes away with the last process that holds it. One that a task returns is held by the task's
/// future, which needs one of this process's descriptors for it, and by no worker; at most 252 anonymous queues,
/// locks and shared arrays can be in one result. A named one stays until
/// remove(), also when nobody has it open.
///
/// All operations may throw bulkhead::error when the memory has been overwritten by somebody.
/// Elements that are themselves handles of anonymous objects do not travel through a queue
/// (codec_error from `put`): a message may outlive its sender.
template <class T>
class queue {
public:
    using value_type = T;
    class iterator;

    /// An anonymous queue. Throws usage_error for a capacity of 0 or over 1 TiB.
    queue() : queue(queue_options{}) {}
    explicit queue(queue_options options)
        : core_(detail::queue_core::make(options.capacity_bytes, detail::type_tag_of<T>())) {}

    /// Makes the named queue; bulkhead::error if it exists or /dev/shm is full, usage_error for a
    /// name that is empty, over 200 bytes, or has a '/'. Of a creator killed half-way nothing stays.
    [[nodiscard]] static queue create(const std::string& name, queue_options options = {}) {
        return queue(
            detail::queue_core::create(name, options.capacity_bytes, detail::type_tag_of<T>()));
    }
    /// Opens it; bulkhead::error if there is none, or it is another user's, holds another type, or
    /// was made by another version of this library.
    [[nodiscard]] static queue open(const std::string& name) {
        return queue(detail::queue_core::open(name, detail::type_tag_of<T>()));
    }
    /// One or the other; bulkhead::error also if it exists with less than the capacity asked for.
    [[nodiscard]] static queue open_or_create(const std::string& name, queue_options options = {}) {
        return queue(detail::queue_core::open_or_create(name, options.capacity_bytes,
                                                        detail::type_tag_of<T>()));
    }
    /// Takes the name away; who has the queue open goes on with it. False if there was none.
    static bool remove(const std::string& name) { return detail::queue_core::remove(name); }

    /// Waits while the queue is full. Throws std::length_error for a message larger than the
    /// capacity, queue_closed, and what encoding throws; the queue is then as it was.
    void put(const T& value) const { put_until(value, detail::wait_for_ever); }
    /// False when there is no room now; otherwise as put().
    bool try_put(const T& value) const { return put_until(value, detail::wait_not_at_all); }
    /// False when there was no room within `limit`; otherwise as put().
    template <class Rep, class Period>
    bool put_for(const T& value, const std::chrono::duration<Rep, Period>& limit) const {
        return put_until(value, detail::deadline_after(limit));
    }

    /// Puts all of `values` in their order, waiting as often as it takes; how many that were. Quicker than
    /// one by one. Messages of other writers may come between. Throws as put(), and what the range throws;
    /// those before that value are there then. Of a range that can be walked through once only, such as another queue,
    /// each is there before the next is asked for, which may be long in coming.
    template <std::ranges::input_range Range>
    requires std::convertible_to<std::ranges::range_reference_t<Range>, const T&>
    std::size_t put_all(Range&& values) const {
        std::size_t done = 0;
        if constexpr (!std::ranges::forward_range<Range>) {
            for (const T& value : values) {
                put(value);
                ++done;
            }
            return done;
        }
        auto at = std::ranges::begin(values);
        const auto last = std::ranges::end(values);
        while (at != last) {
            detail::outgoing_batch batch;
            std::exception_ptr failure;
            try {
                for (; at != last && !batch.is_full(); ++at) {
                    const T& value = *at;
                    batch.add(value);
                }
            } catch (...) {
                failure = std::current_exception();
            }
            batch.put(core_, done);
            if (failure) std::rethrow_exception(failure);
        }
        return done;
    }

    /// Waits for a message, and takes up to `count_max` that are there: at least one, and none when
    /// `count_max` is 0. Quicker than one by one. Throws as get(); if one of them does not decode, all of
    /// them are gone. A reader that is killed meanwhile may take all of them along.
    [[nodiscard]] std::vector<T> get_some(std::size_t count_max) const {
        return some_until(count_max, detail::wait_for_ever, true);
    }
    /// Empty when there is no message now, for whatever reason.
    [[nodiscard]] std::vector<T> try_get_some(std::size_t count_max) const {
        return some_until(count_max, detail::wait_not_at_all, false);
    }
    /// Empty when none came within `limit`; throws queue_closed as get() does.
    template <class Rep, class Period>
    [[nodiscard]] std::vector<T> get_some_for(
        std::size_t count_max, const std::chrono::duration<Rep, Period>& limit) const {
        return some_until(count_max, detail::deadline_after(limit), true);
    }

    /// Waits for a message. Throws queue_closed once the queue is closed and drained, codec_error if
    /// the message does not decode; that message is then gone.
    T get() const {
        auto value = get_until(detail::wait_for_ever);
        if (!value) core_.throw_drained();
        return *std::move(value);
    }
    /// nullopt when there is no message now, for whatever reason.
    [[nodiscard]] std::optional<T> try_get() const { return get_until(detail::wait_not_at_all); }
    /// nullopt when none came within `limit`; throws queue_closed as get() does.
    template <class Rep, class Period>
    [[nodiscard]] std::optional<T> get_for(const std::chrono::duration<Rep, Period>& limit) const {
        bool drained = false;
        auto value = get_until(detail::deadline_after(limit), &drained);
        if (drained) core_.throw_drained();
        return value;
    }

    /// Room for a message of `count` elements in the queue's own memory, for strings and vectors of numbers:
    /// what is large needs no copy on its way in. Waits while the queue is full, or lent to another; throws
    /// as put(). usage_error when this thread has a loan of this queue already.
    [[nodiscard]] auto loan(std::size_t count) const
    requires detail::lendable<T>
    {
        return loaned_message<typename T::value_type>(lend_until(count, detail::wait_for_ever));
    }
    /// nullopt when there is no room now, or another has a loan.
    [[nodiscard]] auto try_loan(std::size_t count) const
    requires detail::lendable<T>
    {
        return if_held<loaned_message<typename T::value_type>>(
            lend_until(count, detail::wait_not_at_all));
    }
    /// nullopt when there was no room within `limit`.
    template <class Rep, class Period>
    [[nodiscard]] auto loan_for(std::size_t count,
                                const std::chrono::duration<Rep, Period>& limit) const
    requires detail::lendable<T>
    {
        return if_held<loaned_message<typename T::value_type>>(
            lend_until(count, detail::deadline_after(limit)));
    }

    /// The next message, in the queue's own memory, for strings and vectors of numbers. Waits for one, or
    /// until it is no other's; throws as get(). usage_error when this thread has borrowed from this queue
    /// already.
    [[nodiscard]] auto borrow() const
    requires detail::lendable<T>
    {
        return borrowed_message<typename T::value_type>(borrow_until(detail::wait_for_ever, true));
    }
    /// nullopt when there is no message to be had now, for whatever reason.
    [[nodiscard]] auto try_borrow() const
    requires detail::lendable<T>
    {
        return if_held<borrowed_message<typename T::value_type>>(
            borrow_until(detail::wait_not_at_all, false));
    }
    /// nullopt when none came within `limit`; throws queue_closed as get() does.
    template <class Rep, class Period>
    [[nodiscard]] auto borrow_for(const std::chrono::duration<Rep, Period>& limit) const
    requires detail::lendable<T>
    {
        return if_held<borrowed_message<typename T::value_type>>(
            borrow_until(detail::deadline_after(limit), true));
    }

    /// As get() and put(), and the result goes to a completion token of Asio:
    /// void(std::exception_ptr, T) and void(std::exception_ptr). See bulkhead/asio.hpp, which must
    /// be included.
    template <class Token>
    auto async_get(Token&& token) const {
        return detail::with_asio<Token>::bridge::template get<T>(core_, std::forward<Token>(token));
    }
    template <class Value, class Token>
    requires std::convertible_to<Value, T>
    auto async_put(Value&& value, Token&& token) const {
        return detail::with_asio<Token>::bridge::template put<T>(core_, std::forward<Value>(value),
                                                                 std::forward<Token>(token));
    }

    /// No more puts, here or anywhere; readers get what is there. Closing twice is no mistake.
    void close() const { core_.close(); }
    [[nodiscard]] bool closed() const { return core_.closed(); }

    /// Takes messages one by one until the queue is closed and drained, waiting for each. Several
    /// loops share the messages. An input range: begin() takes the first message.
    [[nodiscard]] iterator begin() const { return iterator(*this); }
    [[nodiscard]] auto end() const {
        if constexpr (std::is_copy_constructible_v<T>) {
            return iterator();
        } else {
            return std::default_sentinel;  // an iterator that cannot be copied is no sentinel
        }
    }

    /// Messages in the queue at this moment; where others put and get without a rest, a guess.
    [[nodiscard]] std::size_t size() const { return core_.size(); }
    [[nodiscard]] bool empty() const { return core_.size() == 0; }
    [[nodiscard]] std::size_t capacity_bytes() const { return core_.capacity_bytes(); }

    /// As in Python's JoinableQueue: readers call task_done() once for each message they have dealt
    /// with, join_tasks() waits until that has happened for every message ever put. Throws
    /// usage_error when called too often. A reader that dies before its task_done() leaves its
    /// message unfinished, so prefer join_tasks_for() where readers may die.
    void task_done() const { core_.task_done(); }
    void join_tasks() const { static_cast<void>(core_.join_tasks(detail::wait_for_ever)); }
    /// False when some were unfinished after `limit`.
    template <class Rep, class Period>
    [[nodiscard]] bool join_tasks_for(const std::chrono::duration<Rep, Period>& limit) const {
        return core_.join_tasks(detail::deadline_after(limit));
    }

private:
    friend codec<queue>;

    explicit queue(const detail::queue_core& core) : core_(core) {}

    bool put_until(const T& value, detail::deadline until) const {
        if constexpr (detail::travels_as_content<T>) {
            return core_.put(std::as_bytes(std::span(value.data(), value.size())), until);
        } else if constexpr (detail::travels_as_object<T>) {
            return core_.put(std::as_bytes(std::span(std::addressof(value), 1)), until);
        } else {
            detail::message_encoder out;
            out.write(value);
            return core_.put(out.bytes(), until);
        }
    }

    std::optional<T> get_until(detail::deadline until, bool* drained = nullptr) const {
        using result = detail::queue_core::received;
        const auto received = [&](detail::byte_sink sink) {
            const result how = core_.get(sink, until);
            if (drained != nullptr) *drained = how == result::nothing_ever_more;
            return how == result::message;
        };
        if constexpr (detail::travels_as_content<T>) {
            detail::content_sink<T> content;
            if (!received(content.sink())) return std::nullopt;
            content.check();
            return std::move(content.value);
        } else {
            detail::message_buffer buffer;
            if (!received(buffer.sink())) return std::nullopt;
            return std::optional<T>(std::in_place, detail::decode_message<T>(buffer.bytes()));
        }
    }

    std::vector<T> some_until(std::size_t count_max, detail::deadline until,
                              bool throws_when_drained) const {
        std::vector<T> values;
        if (count_max == 0) return values;
        detail::incoming_batch batch;
        std::size_t count = 0;
        const auto how = core_.get_several(batch.sink(), count_max, until, count);
        if (throws_when_drained && how == detail::queue_core::received::nothing_ever_more) {
            core_.throw_drained();
        }
        values.reserve(count);
        for (std::size_t i = 0; i != count; ++i) values.push_back(batch.at<T>(i));
        return values;
    }

    template <class Message>
    static std::optional<Message> if_held(detail::queue_hold hold) {
        if (!hold.holds()) return std::nullopt;
        return std::optional<Message>(std::in_place, std::move(hold));
    }

    detail::queue_hold lend_until(std::size_t count, detail::deadline until) const {
        constexpr std::size_t element_bytes = sizeof(typename T::value_type);
        detail::queue_hold hold;
        // One more than fits is refused as any number that does not.
        const std::size_t count_max = core_.capacity_bytes() / element_bytes + 1;
        core_.lend(std::min(count, count_max) * element_bytes, until, hold);
        return hold;
    }

    detail::queue_hold borrow_until(detail::deadline until, bool throws_when_drained) const {
        detail::queue_hold hold;
        const auto how = core_.borrow(until, hold);
        if (throws_when_drained && how == detail::queue_core::received::nothing_ever_more) {
            core_.throw_drained();
        }
        if (hold.holds() && hold.bytes().size() % sizeof(typename T::value_type) != 0) {
            hold.take();
            detail::throw_bad_value("a message that ends within an element");
        }
        return hold;
    }

    detail::queue_core core_;
};

/// Stands on the message it took last.
template <class T>
class queue<T>::iterator {
public:
    using iterator_category = std::input_iterator_tag;
    using iterator_concept = std::input_iterator_tag;
    using value_type = T;
    using difference_type = std::ptrdiff_t;
    using reference = T&;
    using pointer = T*;

    /// The end of every queue.
    iterator() = default;

    [[nodiscard]] T& operator*() const { return *value_; }
    [[nodiscard]] T* operator->() const { return std::addressof(*value_); }
    iterator& operator++() {
        // Emptied first: one that throws stands at the end.
        value_.reset();
        value_ = from_->get_until(detail::wait_for_ever);
        return *this;
    }
    void operator++(int) { ++*this; }

    friend bool operator==(const iterator& a, const iterator& b) {
        return a.value_.has_value() == b.value_.has_value();
    }
    friend bool operator==(const iterator& a, std::default_sentinel_t) {
        return !a.value_.has_value();
    }

private:
    friend queue;
    explicit iterator(const queue& from) : from_(from) { ++*this; }

    std::optional<queue> from_;
    mutable std::optional<T> value_;
};

namespace detail {
template <class T>
inline constexpr bool is_handle<queue<T>> = true;
}  // namespace detail

/// A queue travels as its handle: the receiver, in the same or another process of this machine, gets
/// the same queue. codec_error if it is gone by then.
template <class T>
struct codec<queue<T>> {
    static void encode(encoder& out, const queue<T>& value) { value.core_.encode(out); }
    static queue<T> decode(decoder& in) {
        return queue<T>(detail::queue_core::decode(in, detail::type_tag_of<T>()));
    }
};

}  // namespace bulkhead
