/// @file
/// What of a queue needs no template: messages are bytes here.
#pragma once

#include <bulkhead/codec.hpp>
#include <bulkhead/detail/byte_sink.hpp>
#include <bulkhead/detail/deadline.hpp>
#include <bulkhead/detail/handle.hpp>

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <cstring>
#include <memory>
#include <optional>
#include <span>
#include <string>
#include <utility>
#include <vector>

namespace bulkhead::detail {

/// The message is the container's content and nothing else: a string, a vector of numbers.
template <class T>
inline constexpr bool travels_as_content = contiguous_trivial<T> && is_primary_codec<codec<T>> &&
                                           is_primary_codec<codec<typename T::value_type>>;
template <class T>
requires(!contiguous_trivial<T>)
inline constexpr bool travels_as_content<T> = false;

/// The message is the object's bytes.
template <class T>
inline constexpr bool travels_as_object = trivially_travels<T> && is_primary_codec<codec<T>>;

/// Marks that programs leave for each other at a queue they stream through; the queue ignores them.
struct queue_marks {
    std::atomic<std::uint32_t>& writers_started;
    std::atomic<std::uint32_t>& writers_ended;
    std::atomic<std::uint32_t>& keep;
};

class queue_hold;
class queue_line;
class queue_operation;

class queue_core {
public:
    enum class received : std::uint8_t { message, nothing_yet, nothing_ever_more };

    // A move is a copy: what was moved from still names its object.
    queue_core(const queue_core&) = default;
    queue_core& operator=(const queue_core&) = default;

    static queue_core make(std::optional<std::size_t> capacity_bytes, type_tag type);
    static queue_core create(const std::string& name, std::optional<std::size_t> capacity_bytes,
                             type_tag type);
    static queue_core open(const std::string& name, type_tag type);
    static std::optional<queue_core> open_if_there(const std::string& name, type_tag type);
    static queue_core open_or_create(const std::string& name,
                                     std::optional<std::size_t> capacity_bytes, type_tag type,
                                     bool smaller_will_do = false);
    static bool remove(const std::string& name);

    void encode(encoder& out) const;
    static queue_core decode(decoder& in, type_tag type);

    /// False when it did not fit in time.
    bool put(std::span<const std::byte> message, deadline until) const;
    /// Puts as many as fit in one go, at least one; how many, 0 when none fitted in time. Either all
    /// of these become visible or, if this process is killed, none.
    /// `interrupted`, once set, ends the waiting; whoever sets it calls wake_putters() after.
    std::size_t put_several(std::span<const std::span<const std::byte>> messages, deadline until,
                            const std::atomic<bool>* interrupted = nullptr) const;
    received get(byte_sink sink, deadline until) const;
    /// Takes up to `count_max` in one go, at least one; `count` says how many.
    received get_several(byte_sink sink, std::size_t count_max, deadline until, std::size_t& count,
                         const std::atomic<bool>* interrupted = nullptr) const;
    void wake_getters() const noexcept;
    void wake_putters() const noexcept;
    /// False when there was no room in time.
    bool lend(std::size_t bytes, deadline until, queue_hold& to) const;
    received borrow(deadline until, queue_hold& to) const;
    /// The operation waits in line with those of this handle's copies in this process, first come,
    /// first served; see queue_operation. It keeps the queue mapped meanwhile.
    void get_later(std::shared_ptr<queue_operation> operation) const;
    void put_later(std::shared_ptr<queue_operation> operation) const;
    [[nodiscard]] const std::shared_ptr<queue_line>& getters() const;
    [[nodiscard]] const std::shared_ptr<queue_line>& putters() const;

    [[noreturn]] void throw_drained() const;
    [[noreturn]] void throw_closed() const;

    void close() const;
    /// Undoes close() if messages are there still; false when not.
    [[nodiscard]] bool reopen() const;
    [[nodiscard]] bool closed() const;
    [[nodiscard]] std::size_t size() const;
    [[nodiscard]] std::size_t capacity_bytes() const;
    void task_done() const;
    [[nodiscard]] bool join_tasks(deadline until) const;

    [[nodiscard]] queue_marks marks() const;
    /// Its descriptor, for flock(); the queue's own, not to be closed.
    [[nodiscard]] int native_handle() const;
    /// Whether its name still leads to it.
    [[nodiscard]] bool is_reachable() const;
    /// Removes its name, unless that leads to another queue by now.
    void remove_own_name() const;

private:
    friend queue_hold;
    class state;
    explicit queue_core(std::shared_ptr<state> from) : state_(std::move(from)) {}

    std::shared_ptr<state> state_;
};

/// A message in the hands of one thread, in the queue's own memory. Lets go of it at its end.
class queue_hold {
public:
    queue_hold();
    ~queue_hold();
    queue_hold(queue_hold&&) noexcept;
    queue_hold& operator=(queue_hold&&) = delete;

    [[nodiscard]] std::span<std::byte> bytes() const noexcept;
    [[nodiscard]] bool holds() const noexcept { return held_ != nullptr; }
    /// What was lent becomes a message, what was borrowed is taken. Once.
    void put(std::size_t bytes);
    void take();

    class held;

private:
    friend queue_core;

    void let_go() noexcept;

    std::unique_ptr<held> held_;
};

/// A message in the making.
class message_encoder final : public encoder {
public:
    /// `refusal`: what is said of a handle that cannot be in a message.
    explicit message_encoder(const char* refusal =
                                 "does not travel through a queue, as a message "
                                 "may outlive its sender; pass it as an argument "
                                 "of the task or process, or give it a name") noexcept
        : refusal_(refusal) {
        begin_ = pos_ = inline_;
        end_ = inline_ + sizeof inline_;
    }
    ~message_encoder() = default;

    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {begin_, size()}; }
    /// A message may outlive its sender: always codec_error.
    void keep_alive(std::shared_ptr<const void> object) override;

private:
    void grow(std::size_t bytes) override;

    const char* refusal_;
    alignas(16) std::byte inline_[512];
    std::unique_ptr<std::byte[]> heap_;
};

/// The message that a value is.
template <class T>
void write_message(message_encoder& out, const T& value) {
    if constexpr (travels_as_content<T>) {
        const auto content = std::as_bytes(std::span(value.data(), value.size()));
        out.write_bytes(content.data(), content.size());
    } else if constexpr (travels_as_object<T>) {
        out.write_bytes(std::addressof(value), sizeof value);
    } else {
        out.write(value);
    }
}

/// A message as it was taken.
class message_buffer {
public:
    [[nodiscard]] byte_sink sink() noexcept {
        return {this, [](void* self, std::size_t bytes) {
                    return static_cast<message_buffer*>(self)->room(bytes);
                }};
    }
    [[nodiscard]] std::span<const std::byte> bytes() const noexcept { return {data_, bytes_}; }

private:
    std::byte* room(std::size_t bytes);

    alignas(16) std::byte inline_[512];
    std::byte* data_ = inline_;
    std::size_t bytes_ = 0;
    std::unique_ptr<std::byte[]> heap_;
};

/// Takes a message right into a string or vector.
template <class Container>
struct content_sink {
    using element = typename Container::value_type;

    Container value;
    bool whole = true;

    [[nodiscard]] byte_sink sink() noexcept {
        return {this, [](void* self, std::size_t bytes) {
                    auto& to = *static_cast<content_sink*>(self);
                    to.whole = bytes % sizeof(element) == 0;
                    to.value.resize((bytes + sizeof(element) - 1) / sizeof(element));
                    return reinterpret_cast<std::byte*>(to.room());
                }};
    }
    void check() const {
        if (!whole) throw_bad_value("a message that ends within an element");
    }

private:
    element* room() {
        // nullptr would mean "no more".
        static element nowhere{};
        return value.empty() ? &nowhere : value.data();
    }
};

template <class T>
[[nodiscard]] T decode_message(std::span<const std::byte> bytes) {
    decoder in(bytes);
    T value(in.read<T>());
    in.expect_end();
    return value;
}

/// Messages on their way out together.
class outgoing_batch {
public:
    /// What is put in one go, at most about.
    static constexpr std::size_t count_max = 64;
    static constexpr std::size_t bytes_max = std::size_t{64} << 10;

    template <class T>
    void add(const T& value) {
        write_message(out_, value);
        ends_.push_back(out_.bytes().size());
    }
    [[nodiscard]] bool is_full() const noexcept {
        return ends_.size() == count_max || out_.bytes().size() >= bytes_max;
    }
    /// All of them, waiting as often as it takes; `done` counts those that are there. As queue_core::put().
    void put(const queue_core& to, std::size_t& done) const;

private:
    message_encoder out_;
    std::vector<std::size_t> ends_;
};

/// Messages as they were taken together.
class incoming_batch {
public:
    [[nodiscard]] byte_sink sink() noexcept {
        return {this, [](void* self, std::size_t bytes) {
                    return static_cast<incoming_batch*>(self)->room(bytes);
                }};
    }
    template <class T>
    [[nodiscard]] T at(std::size_t index) const {
        const std::size_t begin = index == 0 ? 0 : ends_[index - 1];
        const std::span<const std::byte> bytes(bytes_.data() + begin, ends_[index] - begin);
        if constexpr (travels_as_content<T>) {
            content_sink<T> content;
            std::byte* const to = content.sink().room(&content, bytes.size());
            if (!bytes.empty()) std::memcpy(to, bytes.data(), bytes.size());
            content.check();
            return std::move(content.value);
        } else {
            return decode_message<T>(bytes);
        }
    }

private:
    /// nullptr, "no more", once it is large.
    std::byte* room(std::size_t bytes);

    std::vector<std::byte> bytes_;
    std::vector<std::size_t> ends_;
};

}  // namespace bulkhead::detail
