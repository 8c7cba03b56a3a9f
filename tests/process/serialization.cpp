// Classes with a Boost.Serialization serialize() as arguments, results and messages.
#include "support/scene.hpp"

#include <bulkhead/serialization.hpp>

#include <boost/serialization/export.hpp>
#include <boost/serialization/shared_ptr.hpp>
#include <boost/serialization/split_free.hpp>
#include <boost/serialization/split_member.hpp>
#include <boost/serialization/string.hpp>
#include <boost/serialization/vector.hpp>
#include <boost/serialization/version.hpp>

#include <algorithm>
#include <cstdint>
#include <map>
#include <memory>
#include <random>
#include <span>

namespace things {

/// Private members and a private serialize().
class account {
public:
    account() = default;
    account(std::string owner, long cents) : owner_(std::move(owner)), cents_(cents) {}
    bool operator==(const account&) const = default;
    void add(long cents) { cents_ += cents; }

private:
    friend class boost::serialization::access;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& owner_& cents_;
    }
    std::string owner_;
    long cents_ = 0;
};

/// Throws at one step of its way.
struct bad_at {
    enum : int { never, saving, saving_an_int, loading };
    int when = never;

    template <class Archive>
    void save(Archive& archive, unsigned) const {
        if (when == saving) throw std::runtime_error("on the way out");
        if (when == saving_an_int) throw 5;
        archive << when;
    }
    template <class Archive>
    void load(Archive& archive, unsigned) {
        archive >> when;
        if (when == loading) throw std::out_of_range("on the way in");
    }
    BOOST_SERIALIZATION_SPLIT_MEMBER()
};

/// Counts, in this process, how often each half was used.
struct split {
    int x = 0;
    static inline int saved = 0;
    static inline int loaded = 0;

    template <class Archive>
    void save(Archive& archive, unsigned) const {
        ++saved;
        archive << x;
    }
    template <class Archive>
    void load(Archive& archive, unsigned) {
        ++loaded;
        archive >> x;
    }
    BOOST_SERIALIZATION_SPLIT_MEMBER()
};

/// An aggregate and trivially copyable: serialize() comes first all the same.
struct half_told {
    int told = 0;
    int untold = 0;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& told;
    }
};

/// By a function in its own namespace.
class point {
public:
    point() = default;
    point(int x, int y) : x_(x), y_(y) {}
    ~point() {}  // NOLINT: so that no built-in way covers it
    point(const point&) = default;
    point& operator=(const point&) = default;
    bool operator==(const point&) const = default;

private:
    template <class Archive>
    friend void serialize(Archive& archive, point& p, unsigned) {
        archive& p.x_& p.y_;
    }
    int x_ = 0;
    int y_ = 0;
};

/// By functions in Boost's namespace, below.
class outsider {
public:
    outsider() = default;
    explicit outsider(std::vector<int> v) : values(std::move(v)) {}
    std::vector<int> values;
};

/// Cannot be made without a value.
class named {
public:
    explicit named(std::string name) : name_(std::move(name)) {}
    [[nodiscard]] const std::string& name() const { return name_; }
    int count = 0;

private:
    friend class boost::serialization::access;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& count;
    }
    std::string name_;
};

struct shape {
    virtual ~shape() = default;
    [[nodiscard]] virtual int corners() const = 0;
    template <class Archive>
    void serialize(Archive&, unsigned) {}
};
struct polygon : shape {
    int n = 0;
    [[nodiscard]] int corners() const override { return n; }
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& boost::serialization::base_object<shape>(*this);
        archive& n;
    }
};
struct unknown_shape : shape {  // not exported
    [[nodiscard]] int corners() const override { return 0; }
};
class drawing {
public:
    std::vector<std::shared_ptr<shape>> shapes;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& shapes;
    }
};

/// With names like ours that mean something else.
struct exporter {
    int x = 0;
    [[nodiscard]] std::string serialize() const { return std::to_string(x); }
};
struct wider : half_told {
    int more = 0;
};

}  // namespace things

BOOST_CLASS_VERSION(things::split, 3)
BOOST_CLASS_EXPORT(things::polygon)

namespace boost::serialization {
template <class Archive>
void save(Archive& archive, const things::outsider& from, unsigned) {
    archive << from.values;
}
template <class Archive>
void load(Archive& archive, things::outsider& to, unsigned) {
    archive >> to.values;
}
template <class Archive>
void save_construct_data(Archive& archive, const things::named* from, unsigned) {
    archive << from->name();
}
template <class Archive>
void load_construct_data(Archive& archive, things::named* to, unsigned) {
    std::string name;
    archive >> name;
    ::new (to) things::named(std::move(name));
}
}  // namespace boost::serialization
BOOST_SERIALIZATION_SPLIT_FREE(things::outsider)

namespace {

using namespace test;
using namespace things;
using bulkhead::process_pool;

static_assert(bulkhead::detail::boost_serializable<account>);
static_assert(bulkhead::detail::boost_serializable<split>);
static_assert(bulkhead::detail::boost_serializable<half_told>);
static_assert(bulkhead::detail::boost_serializable<point>);
static_assert(bulkhead::detail::boost_serializable<outsider>);
static_assert(bulkhead::detail::boost_serializable<named>);
static_assert(bulkhead::detail::boost_serializable<drawing>);
static_assert(!bulkhead::detail::boost_serializable<exporter>);
static_assert(!bulkhead::detail::boost_serializable<wider>);
static_assert(!bulkhead::detail::boost_serializable<std::string>);
static_assert(!bulkhead::detail::boost_serializable<std::vector<int>>);
static_assert(!bulkhead::detail::boost_serializable<std::pair<account, account>>);
static_assert(!bulkhead::detail::boost_serializable<int>);

account deposit(account to, long cents) {
    to.add(cents);
    return to;
}
template <class T>
T same(T value) {
    return value;
}
int all_corners(const drawing& of) {
    int corners = 0;
    for (const auto& one : of.shapes) corners += one->corners();
    return corners;
}
account throw_it(const account&) { throw std::invalid_argument("no"); }
bad_at make(int when) { return {when}; }
int when_of(const bad_at& value) { return value.when; }

/// An encoder into memory.
class memory final : public bulkhead::encoder {
public:
    ~memory() = default;
    void keep_alive(std::shared_ptr<const void>) override {}
    [[nodiscard]] std::vector<std::byte> bytes() const { return {begin_, pos_}; }

private:
    void grow(std::size_t bytes) override {
        const std::size_t used = size();
        room_.resize(2 * used + bytes);
        begin_ = room_.data();
        pos_ = begin_ + used;
        end_ = begin_ + room_.size();
    }
    std::vector<std::byte> room_;
};

template <class T>
std::vector<std::byte> encoded(const T& value) {
    memory out;
    out.write(value);
    return out.bytes();
}
template <class T>
T decoded(std::span<const std::byte> bytes) {
    bulkhead::decoder in(bytes);
    T value = in.read<T>();
    in.expect_end();
    return value;
}

}  // namespace

BOOST_FIXTURE_TEST_SUITE(serialization, scene)

BOOST_AUTO_TEST_CASE(a_class_with_a_private_serialize_goes_to_a_worker_and_back) {
    process_pool pool(1);
    BOOST_TEST((pool.submit(deposit, account("ann", 5), 7).get() == account("ann", 12)));
    BOOST_CHECK_THROW((void)pool.submit(throw_it, account()).get(), std::invalid_argument);
}

BOOST_AUTO_TEST_CASE(save_and_load_may_be_apart) {
    process_pool pool(1);
    BOOST_TEST(pool.submit(same<split>, split{5}).get().x == 5);
    BOOST_TEST(split::saved == 1);
    BOOST_TEST(split::loaded == 1);
    BOOST_TEST((pool.submit(same<outsider>, outsider({1, 2, 3})).get().values ==
                std::vector<int>{1, 2, 3}));
}

BOOST_AUTO_TEST_CASE(a_function_of_its_namespace_does_as_well) {
    process_pool pool(1);
    BOOST_TEST((pool.submit(same<point>, point(3, 4)).get() == point(3, 4)));
}

BOOST_AUTO_TEST_CASE(serialize_comes_before_the_ways_for_aggregates) {
    process_pool pool(1);
    const auto back = pool.submit(same<half_told>, half_told{5, 6}).get();
    BOOST_TEST(back.told == 5);
    BOOST_TEST(back.untold == 0);
    BOOST_TEST(pool.submit(same<exporter>, exporter{8}).get().x == 8);
    BOOST_TEST(pool.submit(same<wider>, wider{{1, 2}, 3}).get().more == 3);
    BOOST_TEST(pool.submit(same<wider>, wider{{1, 2}, 3}).get().untold == 2);
}

BOOST_AUTO_TEST_CASE(a_class_without_a_default_constructor_is_constructed_by_its_functions) {
    process_pool pool(1);
    named value("ann");
    value.count = 5;
    const auto back = pool.submit(same<named>, value).get();
    BOOST_TEST(back.name() == "ann");
    BOOST_TEST(back.count == 5);
}

BOOST_AUTO_TEST_CASE(containers_use_it_for_their_elements) {
    process_pool pool(1);
    const std::vector<account> accounts{{"ann", 1}, {"bob", 2}};
    BOOST_TEST((pool.submit(same<std::vector<account>>, accounts).get() == accounts));
    const std::map<std::string, account> by_name{{"ann", {"ann", 1}}};
    BOOST_TEST((pool.submit(same<std::map<std::string, account>>, by_name).get() == by_name));
    const std::optional<account> maybe(std::in_place, "ann", 3);
    BOOST_TEST((pool.submit(same<std::optional<account>>, maybe).get() == maybe));
    const std::vector<half_told> flat(3, half_told{1, 2});
    BOOST_TEST(pool.submit(same<std::vector<half_told>>, flat).get()[2].untold == 0);
}

BOOST_AUTO_TEST_CASE(objects_behind_pointers_keep_their_class_and_are_shared) {
    process_pool pool(1);
    drawing one;
    auto triangle = std::make_shared<polygon>();
    triangle->n = 3;
    one.shapes = {triangle, triangle};
    BOOST_TEST(pool.submit(all_corners, one).get() == 6);
    const auto back = pool.submit(same<drawing>, one).get();
    BOOST_TEST(back.shapes[0] == back.shapes[1]);
    BOOST_TEST(back.shapes[0]->corners() == 3);
}

BOOST_AUTO_TEST_CASE(what_an_archive_refuses_is_a_codec_error) {
    process_pool pool(1);
    drawing one;
    one.shapes = {std::make_shared<unknown_shape>()};
    BOOST_CHECK_THROW((void)pool.submit(all_corners, one).get(), bulkhead::codec_error);
    BOOST_TEST(pool.submit(square, 7).get() == 49);
}

BOOST_AUTO_TEST_CASE(what_serialize_throws_is_a_codec_error_wherever_it_throws) {
    process_pool pool(1);
    const auto says = [](auto f, const std::string& text) {
        const auto e = error_of<bulkhead::codec_error>(std::move(f));
        BOOST_TEST_MESSAGE(e.what());
        return std::string(e.what()).find(text) != std::string::npos;
    };
    const auto encode_it = bad_at{bad_at::saving};
    const auto decode_it = bad_at{bad_at::loading};
    BOOST_TEST(says(pool.submit(when_of, encode_it), "does not encode: on the way out"));
    BOOST_TEST(says(pool.submit(when_of, decode_it), "does not decode: on the way in"));
    BOOST_TEST(says(pool.submit(make, int{bad_at::saving}), "does not encode: on the way out"));
    BOOST_TEST(says(pool.submit(make, int{bad_at::loading}), "does not decode: on the way in"));
    BOOST_TEST(says(pool.submit(when_of, bad_at{bad_at::saving_an_int}), "no std::exception"));
    BOOST_TEST(pool.submit(when_of, bad_at{bad_at::never}).get() == bad_at::never);
    BOOST_TEST(pool.stats().crashed == 0U);

    bulkhead::queue<bad_at> q;
    BOOST_CHECK_THROW(q.put(encode_it), bulkhead::codec_error);
    q.put(decode_it);
    BOOST_CHECK_THROW((void)q.get(), bulkhead::codec_error);
}

BOOST_AUTO_TEST_CASE(queues_carry_it) {
    bulkhead::queue<account> q;
    bulkhead::process writer([](bulkhead::queue<account> to) { to.put(account("ann", 9)); }, q);
    BOOST_TEST((q.get() == account("ann", 9)));
    writer.join();
}

BOOST_AUTO_TEST_CASE(truncated_bytes_are_a_codec_error_wherever_they_end) {
    const auto all = encoded(std::vector<account>{{"a name that is long enough", 1}, {"bob", 2}});
    for (std::size_t length = 0; length != all.size(); ++length) {
        BOOST_CHECK_THROW((void)decoded<std::vector<account>>({all.data(), length}),
                          bulkhead::codec_error);
    }
    BOOST_TEST(decoded<std::vector<account>>(all).size() == 2U);
}

BOOST_AUTO_TEST_CASE(corrupted_bytes_of_values_are_a_codec_error_or_a_value) {
    const auto whole = encoded(account("a name that is long enough", 1));
    std::mt19937 random(7);
    int refused = 0;
    for (std::size_t at = 0; at != whole.size(); ++at) {
        for (int round = 0; round != 8; ++round) {
            auto bytes = whole;
            bytes[at] ^= static_cast<std::byte>(1U << round);
            try {
                (void)decoded<account>(bytes);
            } catch (const bulkhead::codec_error&) {
                ++refused;
            }
        }
    }
    BOOST_TEST(refused > 0);
}

BOOST_AUTO_TEST_SUITE_END()
