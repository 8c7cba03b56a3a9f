// Outcomes are written first and counted then, by one store: what the parent sees counted is whole.
#include "pool/chunk_outcomes.hpp"

#include <algorithm>
#include <cstring>

namespace bulkhead::detail {
namespace {

constexpr std::size_t header_bytes = sizeof(chunk_header);
constexpr std::byte padding[8]{};

/// `record` says how many bytes `outcome` has.
template <class Record>
void write_at(std::byte* place, const Record& record, std::span<const std::byte> outcome) {
    std::memcpy(place, &record, sizeof record);
    if (!outcome.empty()) std::memcpy(place + sizeof record, outcome.data(), outcome.size());
}

template <class Record>
void write_all(task_encoder& to, chunk_header header, std::span<const std::byte> content,
               const Record& record, std::span<const std::byte> outcome) {
    const std::size_t all = header_bytes + content.size() + sizeof record + padded(outcome.size());
    header.done = make_chunk_word(header.done, all);
    to.clear();
    to.write_bytes(&header, sizeof header);
    if (!content.empty()) to.write_bytes(content.data(), content.size());
    to.write_bytes(&record, sizeof record);
    to.write_bytes(outcome.data(), outcome.size());
    to.write_bytes(padding, padded(outcome.size()) - outcome.size());
}

}  // namespace

void chunk_outcomes::begin() {
    items_ = 0;
    bytes_ = header_bytes;
    flat_ = {};
    block_ = port_.begin_chunk();
}

flat_block& chunk_outcomes::begin_flat(std::size_t items, std::size_t bytes_each) {
    std::span<std::byte> memory = block_;
    flat_.items = items;
    flat_.bytes = header_bytes + padded(items * bytes_each);
    flat_.done = &port_.committed();
    if (memory.size() < flat_.bytes) {
        // The arena is full. One item, in memory of its own: if it crashes, it is the one to blame.
        flat_.items = std::min<std::size_t>(items, 1);
        flat_.bytes = header_bytes + padded(bytes_each);
        flat_.done = &unseen_;
        own_block_.resize(flat_.bytes);
        memory = own_block_;
        port_.drop_chunk();
        block_ = {};
    }
    flat_memory_ = memory.data();
    flat_.values = flat_memory_ + header_bytes;
    flat_.done->store(0, std::memory_order_relaxed);
    flat_.abandoned = &port_.abandoned_ticket();
    flat_.ticket = port_.ticket();
    const chunk_header header{0, flat_.bytes};
    std::memcpy(flat_memory_, &header, sizeof header);
    flat_errors_at_ = flat_.bytes;
    return flat_;
}

bool chunk_outcomes::add(bool threw, std::span<const std::byte> outcome) {
    const outcome_record record{threw ? 1U : 0U, outcome.size()};
    const std::size_t needed = sizeof record + padded(outcome.size());
    if (block_.size() < bytes_ + needed) return false;
    write_at(block_.data() + bytes_, record, outcome);
    bytes_ += needed;
    port_.commit_items(++items_, bytes_);
    return true;
}

bool chunk_outcomes::add_flat_error(std::size_t item, std::span<const std::byte> exception) {
    const flat_error_record record{item, exception.size()};
    const std::size_t needed = sizeof record + padded(exception.size());
    if (block_.size() < flat_.bytes + needed) return false;
    write_at(flat_memory_ + flat_.bytes, record, exception);
    flat_.bytes += needed;
    return true;
}

void chunk_outcomes::assemble(task_encoder& to, bool threw,
                              std::span<const std::byte> outcome) const {
    const auto content = block_.empty() ? std::span<const std::byte>()
                                        : block_.subspan(header_bytes, bytes_ - header_bytes);
    const outcome_record record{threw ? 1U : 0U, outcome.size()};
    write_all(to, {items_ + 1, 0}, content, record, outcome);
}

void chunk_outcomes::assemble_flat(task_encoder& to, std::size_t item,
                                   std::span<const std::byte> exception) const {
    const flat_error_record record{item, exception.size()};
    write_all(to, {item + 1, flat_errors_at_}, {flat_.values, flat_.bytes - header_bytes}, record,
              exception);
}

bool chunk_outcomes::finish(task_encoder& otherwise) {
    otherwise.clear();
    if (flat_.values == nullptr) {
        const chunk_header header{make_chunk_word(items_, bytes_), 0};
        if (block_.empty()) {  // not one item
            otherwise.write_bytes(&header, sizeof header);
            return false;
        }
        std::memcpy(block_.data(), &header, sizeof header);
        port_.finish_chunk(bytes_);
        return true;
    }
    const auto items = chunk_word_items(flat_.done->load(std::memory_order_relaxed));
    const std::uint64_t word = make_chunk_word(items, flat_.bytes);
    std::memcpy(flat_memory_, &word, sizeof word);
    if (block_.empty()) {
        otherwise.write_bytes(own_block_.data(), own_block_.size());
        return false;
    }
    port_.finish_chunk(flat_.bytes);
    return true;
}

}  // namespace bulkhead::detail
