#include <bulkhead/bulkhead.hpp>
#include <bulkhead/serialization.hpp>

#include <iostream>

class number {
public:
    number() = default;
    explicit number(int x) : x_(x) {}
    [[nodiscard]] int value() const { return x_; }

private:
    friend class boost::serialization::access;
    template <class Archive>
    void serialize(Archive& archive, unsigned) {
        archive& x_;
    }
    int x_ = 0;
};

number square(const number& x) { return number(x.value() * x.value()); }

int main(int argc, char** argv) {
    bulkhead::init(argc, argv);
    bulkhead::process_pool pool(2);
    std::cout << pool.submit(square, number(7)).get().value() << '\n';
}
