#include <boost/test/unit_test.hpp>
#include <bulkhead/codec.hpp>
#include <bulkhead/detail/queue_core.hpp>

#include <array>
#include <chrono>
#include <complex>
#include <deque>
#include <filesystem>
#include <forward_list>
#include <functional>
#include <ios>
#include <list>
#include <map>
#include <memory>
#include <optional>
#include <set>
#include <string>
#include <system_error>
#include <tuple>
#include <unordered_map>
#include <unordered_set>
#include <variant>
#include <vector>

namespace codec_test {

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

struct with_arrays {
    char tag[4];
    std::string names[2];
    std::array<person, 2> people;
    int grid[2][3];
    std::array<std::string, 3> words;
    const double weight;
    friend bool operator==(const with_arrays&, const with_arrays&) = default;
};

struct alias_list : std::vector<int> {
    using vector::vector;
};
struct named_list : std::vector<int> {
    std::string name;
};
class tagged_text : public std::string {
public:
    tagged_text() = default;  // no aggregate
    int tag = 0;
};
struct sized_file : std::filesystem::path {
    int size;
};

/// Has no default: fewer values than it has fields do not make one.
struct meter {
    explicit meter(int v) : value(v) {}
    int value;
    friend bool operator==(const meter&, const meter&) = default;
};

struct without_default {
    std::string name;
    meter each[2];
    std::optional<std::string> note;
    meter last;
    friend bool operator==(const without_default&, const without_default&) = default;
};

struct only_moves {
    std::vector<std::unique_ptr<int>> many;
    std::optional<std::unique_ptr<std::string>> perhaps;
    std::unique_ptr<int> pair[2];
    std::vector<std::vector<std::unique_ptr<int>>> rows;
    std::map<int, std::unique_ptr<int>> by_number;
    int last;
};

struct chain {
    int value = 0;
    std::unique_ptr<chain> next;
};

/// Trivially copyable, and with a codec of its own all the same: it travels as text.
struct token {
    int value;
    friend bool operator==(const token&, const token&) = default;
};

class opaque {
public:
    explicit opaque(std::string text) : text_(std::move(text)) {}
    [[nodiscard]] const std::string& text() const { return text_; }
    friend bool operator==(const opaque&, const opaque&) = default;

private:
    std::string text_;
};

struct silent {};

}  // namespace codec_test

template <>
struct bulkhead::codec<codec_test::opaque> {
    static void encode(encoder& out, const codec_test::opaque& value) { out.write(value.text()); }
    static codec_test::opaque decode(decoder& in) {
        return codec_test::opaque(in.read<std::string>());
    }
};

template <>
struct bulkhead::codec<codec_test::token> {
    static void encode(encoder& out, const codec_test::token& value) {
        out.write(std::to_string(value.value));
    }
    static codec_test::token decode(decoder& in) { return {std::stoi(in.read<std::string>())}; }
};

template <>
struct bulkhead::codec<codec_test::silent> {
    static void encode(encoder&, const codec_test::silent&) {}
    static codec_test::silent decode(decoder&) { return {}; }
};

namespace {

using namespace codec_test;
using bulkhead::codec_error;
using bulkhead::decoder;
using bulkhead::detail::message_encoder;
using bytes = std::vector<std::byte>;

template <class T>
bytes encoded(const T& value) {
    message_encoder out;
    out.write(value);
    const auto written = out.bytes();
    return {written.begin(), written.end()};
}

template <class T>
T decoded(std::span<const std::byte> from) {
    decoder in(from);
    T value = in.read<T>();
    in.expect_end();
    return value;
}

/// Comes back equal; and of every shorter message, and a longer one, it is said so.
template <class T>
void check_travels(const T& value) {
    BOOST_TEST_CONTEXT(typeid(T).name()) {
        const bytes whole = encoded(value);
        BOOST_TEST(!whole.empty());
        BOOST_TEST((decoded<T>(whole) == value));
        for (std::size_t length = 0; length != whole.size(); ++length) {
            // Of exactly that size on the heap, so that a sanitizer sees a read beyond it.
            const bytes cut(whole.begin(), whole.begin() + static_cast<std::ptrdiff_t>(length));
            BOOST_CHECK_THROW((void)decoded<T>(cut), codec_error);
        }
        bytes longer = whole;
        longer.push_back(std::byte{0});
        BOOST_CHECK_THROW((void)decoded<T>(longer), codec_error);
    }
}

template <class T>
void check_count_is_not_believed(std::uint64_t count) {
    BOOST_TEST_CONTEXT(typeid(T).name() << " with count " << count) {
        bytes lie(sizeof count + 20);
        std::memcpy(lie.data(), &count, sizeof count);
        BOOST_CHECK_THROW((void)decoded<T>(lie), codec_error);
    }
}

}  // namespace

BOOST_AUTO_TEST_SUITE(codec)

BOOST_AUTO_TEST_CASE(numbers_and_enums_travel) {
    enum class color : std::uint8_t { red, green };
    check_travels(7);
    check_travels('x');
    check_travels(-1.5);
    check_travels(true);
    check_travels(false);
    check_travels(std::uint64_t{1} << 63);
    check_travels(color::green);
    check_travels(point{1, 2.5});
    check_travels(std::complex<double>(1, 2));
}

BOOST_AUTO_TEST_CASE(strings_and_paths_travel_whatever_bytes_they_hold) {
    check_travels(std::string());
    check_travels(std::string("a\0b\n", 4));
    check_travels(std::string(1000, 'x'));
    check_travels(std::wstring(L"wide"));
    check_travels(std::u16string(u"utf-16"));
    check_travels(std::filesystem::path("/tmp/some file"));
}

BOOST_AUTO_TEST_CASE(containers_travel) {
    check_travels(std::vector<int>{});
    check_travels(std::vector<int>{1, 2, 3});
    check_travels(std::vector<bool>{true, false, true});
    check_travels(std::vector<std::string>{"", "a", "bb"});
    check_travels(std::vector<std::vector<double>>{{1.0}, {}, {2.0, 3.0}});
    check_travels(std::deque<int>{1, 2});
    check_travels(std::list<std::string>{"x", "y"});
    check_travels(std::forward_list<int>{1, 2, 3});
    check_travels(std::set<int>{3, 1, 2});
    check_travels(std::multiset<int>{1, 1});
    check_travels(std::map<std::string, int>{{"a", 1}, {"b", 2}});
    check_travels(std::map<int, std::vector<int>>{{1, {1}}, {2, {}}});
    check_travels(std::multimap<int, int>{{1, 2}, {1, 3}});
    check_travels(std::unordered_map<std::string, std::string>{{"k", "v"}});
    check_travels(std::unordered_set<std::string>{"u", "v"});
    check_travels(std::array<int, 3>{1, 2, 3});
    check_travels(std::array<std::string, 2>{"p", "q"});
    check_travels(std::array<std::string, 0>{});
}

BOOST_AUTO_TEST_CASE(sums_and_products_travel) {
    check_travels(std::pair<int, std::string>(1, "one"));
    check_travels(std::tuple<int, double, std::string>(1, 2.0, "three"));
    check_travels(std::tuple<>());
    check_travels(std::optional<int>());
    check_travels(std::optional<std::string>("here"));
    check_travels(std::variant<int, std::string>(1));
    check_travels(std::variant<int, std::string>("text"));
    check_travels(std::variant<std::monostate, int>());
}

BOOST_AUTO_TEST_CASE(durations_and_times_travel) {
    check_travels(std::chrono::milliseconds(5));
    check_travels(std::chrono::duration<double>(0.5));
    check_travels(std::chrono::system_clock::now());
    check_travels(std::chrono::steady_clock::now());
}

BOOST_AUTO_TEST_CASE(error_codes_travel_by_their_categories_names) {
    check_travels(std::error_code());
    check_travels(std::make_error_code(std::errc::no_such_file_or_directory));
    check_travels(std::error_code(7, std::system_category()));
    check_travels(std::make_error_code(std::io_errc::stream));
    check_travels(std::make_error_condition(std::errc::timed_out));
    check_travels(std::vector<std::error_code>{{1, std::generic_category()}, {}});
    struct own_category final : std::error_category {
        [[nodiscard]] const char* name() const noexcept override { return "own"; }
        [[nodiscard]] std::string message(int) const override { return "of its own"; }
    };
    static const own_category own;
    const auto code = decoded<std::error_code>(encoded(std::error_code(5, own)));
    BOOST_TEST(code.value() == 5);
    BOOST_TEST(code.category().name() == "bulkhead.remote");
    BOOST_TEST(code.message() == "error 5 of a category of the task's own");
}

BOOST_AUTO_TEST_CASE(a_class_that_adds_members_to_a_container_is_none) {
    using namespace bulkhead::detail;
    static_assert(container_like<std::vector<int>> && container_like<std::string>);
    static_assert(container_like<alias_list> && !container_like<named_list>);
    static_assert(!container_like<tagged_text> && !known_shape<tagged_text>);
    static_assert(path_like<std::filesystem::path> && !path_like<sized_file>);
    static_assert(container_like<std::set<int, std::greater<>>>);
    static_assert(!container_like<std::set<int, bool (*)(int, int)>>);
    static_assert(!container_like<std::map<int, int, std::function<bool(int, int)>>>);
    static_assert(!container_like<std::unordered_set<int, std::size_t (*)(int)>>);
    alias_list list;
    list.push_back(3);
    check_travels(list);
}

BOOST_AUTO_TEST_CASE(aggregates_travel_field_by_field_and_classes_by_their_codec) {
    check_travels(person{"Ada", {{1, 2}, {3, 4}}, 36});
    check_travels(std::vector<person>{{"A", {}, {}}, {"B", {{0, 0}}, 1}});
    check_travels(opaque("hidden"));
    check_travels(std::vector<opaque>{opaque("a"), opaque("")});
}

BOOST_AUTO_TEST_CASE(aggregates_may_hold_arrays_of_either_kind) {
    const person ada{"Ada", {{1, 2}}, 36};
    check_travels(with_arrays{{'a', 'b', 'c', 'd'},
                              {"one", "two"},
                              {ada, ada},
                              {{1, 2, 3}, {4, 5, 6}},
                              {"x", "", "z"},
                              0.5});
    check_travels(without_default{"m", {meter(1), meter(2)}, "n", meter(3)});
    static_assert(bulkhead::detail::field_count<with_arrays> == 6);
    static_assert(bulkhead::detail::field_count<without_default> == 4);
}

BOOST_AUTO_TEST_CASE(aggregates_may_hold_what_only_moves) {
    only_moves sent;
    sent.many.push_back(std::make_unique<int>(1));
    sent.many.push_back(nullptr);
    sent.perhaps = std::make_unique<std::string>("two");
    sent.pair[1] = std::make_unique<int>(3);
    sent.rows.resize(2);
    sent.rows[1].push_back(std::make_unique<int>(4));
    sent.by_number.emplace(7, std::make_unique<int>(5));
    sent.last = 6;
    const auto got = decoded<only_moves>(encoded(sent));
    BOOST_REQUIRE(got.many.size() == 2U);
    BOOST_TEST(*got.many.at(0) == 1);
    BOOST_TEST((got.many.at(1) == nullptr));
    BOOST_TEST(**got.perhaps == "two");
    BOOST_TEST((got.pair[0] == nullptr));
    BOOST_TEST(*got.pair[1] == 3);
    BOOST_TEST(got.rows.at(0).empty());
    BOOST_TEST(*got.rows.at(1).at(0) == 4);
    BOOST_TEST(*got.by_number.at(7) == 5);
    BOOST_TEST(got.last == 6);
}

BOOST_AUTO_TEST_CASE(unique_pointers_travel_with_what_they_own) {
    chain first{1, std::make_unique<chain>(chain{2, nullptr})};
    const auto copy = decoded<chain>(encoded(first));
    BOOST_TEST(copy.value == 1);
    BOOST_REQUIRE(copy.next != nullptr);
    BOOST_TEST(copy.next->value == 2);
    BOOST_TEST((copy.next->next == nullptr));
    BOOST_TEST((*decoded<std::unique_ptr<std::string>>(
                    encoded(std::make_unique<std::string>("owned"))) == "owned"));
}

BOOST_AUTO_TEST_CASE(a_count_that_the_bytes_cannot_hold_is_refused_before_memory_is_taken) {
    for (const std::uint64_t count :
         {std::uint64_t{21}, std::uint64_t{1} << 32, std::uint64_t{1} << 61,
          (std::uint64_t{1} << 62) + 1, UINT64_MAX}) {
        check_count_is_not_believed<std::string>(count);
        check_count_is_not_believed<std::vector<int>>(count);
        check_count_is_not_believed<std::vector<std::string>>(count);
        check_count_is_not_believed<std::list<int>>(count);
        check_count_is_not_believed<std::map<int, int>>(count);
        check_count_is_not_believed<std::unordered_set<std::string>>(count);
        check_count_is_not_believed<std::variant<int, std::string>>(count);
    }
}

BOOST_AUTO_TEST_CASE(a_bool_is_true_or_false) {
    BOOST_CHECK_THROW((void)decoded<bool>(bytes{std::byte{2}}), codec_error);
    BOOST_CHECK_THROW((void)decoded<std::optional<int>>(bytes{std::byte{2}, std::byte{0}}),
                      codec_error);
}

BOOST_AUTO_TEST_CASE(nesting_is_bounded_on_both_sides) {
    chain first;
    chain* last = &first;
    for (int i = 0; i != bulkhead::nesting_depth_max + 1; ++i) {
        last->next = std::make_unique<chain>();
        last = last->next.get();
    }
    BOOST_CHECK_THROW((void)encoded(first), codec_error);

    // What a chain looks like that goes on for ever: a value, "there is a next", a value, ...
    bytes endless;
    for (int i = 0; i != 100'000; ++i) {
        const bytes link = {std::byte{1}, std::byte{0}, std::byte{0}, std::byte{0}, std::byte{1}};
        endless.insert(endless.end(), link.begin(), link.end());
    }
    BOOST_CHECK_THROW((void)decoded<chain>(endless), codec_error);
}

BOOST_AUTO_TEST_CASE(a_codec_of_its_own_is_used_inside_containers_too) {
    const std::vector<token> tokens = {{1}, {-20}, {300}};
    const std::array<token, 2> pair = {{{4}, {5}}};
    BOOST_TEST(encoded(tokens).size() != encoded(std::vector<int>{1, -20, 300}).size());
    BOOST_TEST((decoded<std::vector<token>>(encoded(tokens)) == tokens));
    BOOST_TEST((decoded<std::array<token, 2>>(encoded(pair)) == pair));
}

BOOST_AUTO_TEST_CASE(an_element_that_writes_nothing_is_refused) {
    BOOST_CHECK_THROW((void)encoded(std::list<silent>(3)), codec_error);
}

BOOST_AUTO_TEST_CASE(random_bytes_decode_or_are_refused) {
    int refused = 0;
    std::uint32_t seed = 1;
    const auto next = [&] { return seed = seed * 1664525 + 1013904223; };
    for (int round = 0; round != 20'000; ++round) {
        bytes noise(next() >> 8 & 63);
        // Mostly zeros and small numbers: counts and tags that go far.
        for (auto& byte : noise) {
            const std::uint32_t dice = (next() >> 16) % 24;
            byte = static_cast<std::byte>(dice < 20 ? 0 : dice - 20);
        }
        using all = std::tuple<std::vector<std::variant<int, std::string>>, std::optional<person>,
                               std::map<std::string, std::vector<bool>>>;
        try {
            decoder in(noise);
            (void)in.read<all>();
        } catch (const codec_error&) {
            ++refused;
        }
    }
    BOOST_TEST(refused > 0);
    BOOST_TEST(refused < 20'000);
}

BOOST_AUTO_TEST_SUITE_END()
