// Chunks of map() as arrays of bytes: what is refused, and what comes out at which position.
#include <boost/test/unit_test.hpp>
#include <bulkhead/detail/flat_chunk.hpp>
#include <bulkhead/detail/task_encoder.hpp>

#include "pool/chunk_record.hpp"
#include "pool/exception_travel.hpp"

#include <cstring>
#include <stdexcept>
#include <string>
#include <vector>

namespace {

using namespace bulkhead;
using namespace bulkhead::detail;

/// Results of items, exceptions at some of them, as a worker writes them.
class chunk_bytes {
public:
    explicit chunk_bytes(const std::vector<int>& values) {
        bytes_.resize(sizeof(chunk_header) + padded(values.size() * sizeof(int)));
        if (!values.empty()) {
            std::memcpy(bytes_.data() + sizeof(chunk_header), values.data(),
                        values.size() * sizeof(int));
        }
        header.errors_at = bytes_.size();
        header.done = make_chunk_word(values.size(), 0);
    }
    void add_error(std::uint64_t item, const std::string& what) {
        task_encoder exception;
        try {
            throw std::runtime_error(what);
        } catch (...) {
            encode_current_exception(exception);
        }
        add_record({item, exception.size()});
        append(exception.bytes().data(), exception.size());
        bytes_.resize(bytes_.size() + padded(exception.size()) - exception.size());
    }
    void add_record(flat_error_record record) { append(&record, sizeof record); }
    void cut(std::size_t bytes) { bytes_.resize(bytes_.size() - bytes); }

    [[nodiscard]] flat_content read(std::size_t items_max) {
        std::memcpy(bytes_.data(), &header, std::min(sizeof header, bytes_.size()));
        decoder in(bytes_);
        return {in, items_max, sizeof(int), 42};
    }

    chunk_header header{};

private:
    void append(const void* from, std::size_t bytes) {
        const auto* first = static_cast<const std::byte*>(from);
        bytes_.insert(bytes_.end(), first, first + bytes);
    }

    std::vector<std::byte> bytes_;
};

}  // namespace

BOOST_AUTO_TEST_SUITE(flat_chunk)

BOOST_AUTO_TEST_CASE(values_and_errors_come_at_their_positions) {
    chunk_bytes chunk({10, 0, 12, 13, 0});
    chunk.add_error(1, "one");
    chunk.add_error(4, "four");
    flat_outcomes<int> outcomes;
    outcomes.push_error(std::make_exception_ptr(std::logic_error("before")));
    outcomes.push(chunk.read(5));
    outcomes.push(chunk_bytes({20}).read(1));
    outcomes.push_error(std::make_exception_ptr(std::logic_error("behind")));
    std::vector<std::string> seen;
    for (; !outcomes.empty(); outcomes.pop_front()) {
        try {
            seen.push_back(std::to_string(outcomes.take_front()));
        } catch (const std::exception& error) {
            seen.emplace_back(error.what());
        }
    }
    const std::vector<std::string> expected{"before", "10",   "one", "12",
                                            "13",     "four", "20",  "behind"};
    BOOST_TEST(seen == expected, boost::test_tools::per_element());
    outcomes.push(chunk_bytes({7}).read(1));
    BOOST_TEST(outcomes.take_front() == 7);
}

BOOST_AUTO_TEST_CASE(an_exception_tells_its_process) {
    chunk_bytes chunk({1});
    chunk.add_error(0, "it");
    flat_outcomes<int> outcomes;
    outcomes.push(chunk.read(1));
    try {
        (void)outcomes.take_front();
        BOOST_ERROR("nothing was thrown");
    } catch (const remote_info& where) {
        BOOST_TEST(where.pid() == 42);
    }
}

BOOST_AUTO_TEST_CASE(fewer_items_than_were_sent_may_be_done) {
    BOOST_TEST(chunk_bytes({1, 2}).read(10).items == 2U);
    BOOST_TEST(chunk_bytes({}).read(10).items == 0U);
    // The block has room for all, of which some are not done.
    chunk_bytes chunk({1, 2, 3, 4});
    chunk.header.done = make_chunk_word(1, 0);
    BOOST_TEST(chunk.read(4).items == 1U);
}

BOOST_AUTO_TEST_CASE(lies_are_refused) {
    {
        chunk_bytes chunk({1, 2, 3});
        BOOST_CHECK_THROW((void)chunk.read(2), codec_error);  // more than were sent
    }
    {
        chunk_bytes chunk({1, 2, 3});
        chunk.header.done = make_chunk_word(5, 0);  // more than there is room for
        BOOST_CHECK_THROW((void)chunk.read(9), codec_error);
    }
    for (const std::uint64_t at : {0ULL, 15ULL, 1000ULL, ~0ULL, ~0ULL - 15}) {
        chunk_bytes chunk({1, 2, 3});
        chunk.header.errors_at = at;
        BOOST_CHECK_THROW((void)chunk.read(3), codec_error);
    }
    for (const std::uint64_t item : {3ULL, ~0ULL}) {
        chunk_bytes chunk({1, 2, 3});
        chunk.add_error(item, "no such item");
        BOOST_CHECK_THROW((void)chunk.read(3), codec_error);
    }
    {
        chunk_bytes chunk({1, 2, 3});
        chunk.add_error(1, "twice");
        chunk.add_error(1, "twice");
        BOOST_CHECK_THROW((void)chunk.read(3), codec_error);
    }
    for (const std::uint64_t bytes : {1ULL, ~0ULL, ~0ULL - 7}) {
        chunk_bytes chunk({1, 2, 3});
        chunk.add_record({1, bytes});
        BOOST_CHECK_THROW((void)chunk.read(3), codec_error);
    }
    {
        chunk_bytes chunk({});
        chunk.cut(4);
        BOOST_CHECK_THROW((void)chunk.read(3), codec_error);
    }
}

BOOST_AUTO_TEST_CASE(a_byte_that_is_no_bool_is_refused) {
    std::byte bytes[24]{};
    const chunk_header header{make_chunk_word(2, 0), 24};
    std::memcpy(bytes, &header, sizeof header);
    bytes[16] = std::byte{1};
    bytes[17] = std::byte{2};
    decoder in(bytes);
    flat_outcomes<bool> outcomes;
    outcomes.push({in, 2, sizeof(bool), 1});
    BOOST_TEST(outcomes.take_front());
    outcomes.pop_front();
    BOOST_CHECK_THROW((void)outcomes.take_front(), codec_error);
}

BOOST_AUTO_TEST_CASE(a_message_holds_its_items_and_gives_the_rest_of_them_again) {
    flat_message message;
    for (int i = 0; i != 1000; i += 4) {
        std::byte* at = message.room_for(8, sizeof i);
        for (int item = i; item != i + 4; ++item, at += sizeof item) {
            std::memcpy(at, &item, sizeof item);
        }
        message.added(4);  // the rest of the room was not needed
    }
    BOOST_TEST(message.items() == 1000U);
    const flat_message taken = message.take();
    BOOST_TEST(message.items() == 0U);
    for (const std::size_t first : {std::size_t{0}, std::size_t{1}, std::size_t{999}}) {
        task_encoder out;
        taken.write(out, first);
        decoder in(out.bytes());
        BOOST_TEST(in.read_count() == 1000 - first);
        BOOST_TEST(in.read<int>() == static_cast<int>(first));
    }
}

BOOST_AUTO_TEST_SUITE_END()
