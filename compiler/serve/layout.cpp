// Roles by comparison with the sizes; reshapes by grouping dimensions of equal product.
#include "compiler/serve/layout.h"

#include <algorithm>

namespace platen::compiler::serve {

namespace {

template <typename F> Extent extentBy(F &&of) {
  Extent extent;
  for (size_t i = 0; i < kSizes.size(); ++i)
    extent[i] = of(kSizes[i]);
  return extent;
}

Extent multiply(const Extent &a, const Extent &b) {
  Extent product;
  for (size_t i = 0; i < a.size(); ++i)
    product[i] = a[i] * b[i];
  return product;
}

Extent ones() {
  return extentBy([](const Sizes &) { return int64_t{1}; });
}

using Roles = std::vector<Role>;

Roles rolesOf(const Extents &extents) {
  Roles roles;
  for (const Extent &extent : extents)
    roles.push_back(roleOf(extent));
  return roles;
}

Extent extentOf(Role role) {
  return extentBy([&](const Sizes &sizes) {
    return role == Role::kBatch      ? sizes.batch
           : role == Role::kSequence ? sizes.sequence
                                     : sizes.batch * sizes.sequence;
  });
}

/// Merged dimensions taken apart, tokens first.
Extents takenApart(const Extents &extents) {
  Extents parts;
  for (const Extent &extent : extents) {
    Merged merged = mergedRoleOf(extent);
    if (merged.factor == 1) {
      parts.push_back(extent);
      continue;
    }
    parts.push_back(extentOf(merged.role));
    parts.push_back(extentBy([&](const Sizes &) { return merged.factor; }));
  }
  return parts;
}

/// Whether a group of dimensions with equal products keeps tokens apart from features.
bool isCleanGroup(const Roles &from, const Roles &to) {
  auto allFeatures = [](const Roles &roles) {
    return std::ranges::all_of(roles, [](Role role) { return role == Role::kFeature; });
  };
  if (allFeatures(from) && allFeatures(to))
    return true;
  const Roles pair{Role::kBatch, Role::kSequence}, flat{Role::kTokens};
  if ((from == pair || from == flat) && (to == pair || to == flat))
    return true;
  return from.size() == 1 && from == to;
}

bool isOne(const Extent &extent) { return extent == ones(); }

} // namespace

Role roleOf(const Extent &extent) {
  if (std::ranges::all_of(extent, [&](int64_t value) { return value == extent[0]; }))
    return Role::kFeature;
  if (extent == extentBy([](const Sizes &sizes) { return sizes.batch; }))
    return Role::kBatch;
  if (extent == extentBy([](const Sizes &sizes) { return sizes.sequence; }))
    return Role::kSequence;
  if (extent == extentBy([](const Sizes &sizes) { return sizes.batch * sizes.sequence; }))
    return Role::kTokens;
  if (extent == extentBy([](const Sizes &sizes) { return sizes.past; }))
    return Role::kPast;
  if (extent == extentBy([](const Sizes &sizes) { return sizes.total(); }))
    return Role::kTotal;
  return Role::kOther;
}

Merged mergedRoleOf(const Extent &extent) {
  Role role = roleOf(extent);
  if (role != Role::kOther)
    return {role};
  for (Role token : {Role::kBatch, Role::kSequence, Role::kTokens}) {
    Extent whole = extentOf(token);
    int64_t factor = extent[0] / whole[0];
    if (extent == multiply(whole, extentBy([&](const Sizes &) { return factor; })))
      return {token, factor};
  }
  return {Role::kOther};
}

std::string toString(const Extent &extent) {
  if (Merged merged = mergedRoleOf(extent); merged.factor != 1)
    return toString(extentOf(merged.role)) + "*" + std::to_string(merged.factor);
  switch (roleOf(extent)) {
  case Role::kBatch:
    return "b";
  case Role::kSequence:
    return "s";
  case Role::kTokens:
    return "b*s";
  case Role::kPast:
    return "p";
  case Role::kTotal:
    return "p+s";
  case Role::kFeature:
    return std::to_string(extent[0]);
  case Role::kOther:
    return "?";
  }
  return "?";
}

std::string toString(const Extents &extents) {
  std::string text = "[";
  for (const Extent &extent : extents)
    text += (text.size() > 1 ? "," : "") + toString(extent);
  return text + "]";
}

base::Result<Layout> Layout::of(const Extents &extents) {
  Layout layout;
  for (const Extent &extent : extents) {
    Merged merged = mergedRoleOf(extent);
    layout.dims_.push_back(merged);
    if (merged.role == Role::kFeature)
      layout.features_.push_back(extent[0]);
    else if (merged.factor != 1)
      layout.features_.push_back(merged.factor);
  }
  auto count = [&](Role role) {
    return std::ranges::count_if(layout.dims_, [&](const Merged &dim) { return dim.role == role; });
  };
  bool split = count(Role::kBatch) == 1 && count(Role::kSequence) == 1 && count(Role::kTokens) == 0;
  bool flat = count(Role::kBatch) == 0 && count(Role::kSequence) == 0 && count(Role::kTokens) == 1;
  bool others = count(Role::kPast) + count(Role::kTotal) + count(Role::kOther) > 0;
  if ((!split && !flat) || others)
    return base::invalidArgument("dimensions " + toString(extents) +
                                 " are not batch and sequence once each and otherwise constant");
  return layout;
}

int64_t Layout::axisOf(int64_t dim) const {
  return 1 + std::count_if(dims_.begin(), dims_.begin() + dim, [](const Merged &merged) {
           return merged.role == Role::kFeature || merged.factor != 1;
         });
}

bool Layout::sameTokens(const Layout &other) const {
  return std::ranges::equal(dims_, other.dims_);
}

base::Status checkReshape(const Extents &fromWhole, const Extents &toWhole) {
  auto mixed = [&] {
    return base::invalidArgument("reshaping " + toString(fromWhole) + " to " + toString(toWhole) +
                                 " mixes tokens with features");
  };
  Extents from = takenApart(fromWhole), to = takenApart(toWhole);
  size_t i = 0, j = 0;
  while (i < from.size() || j < to.size()) {
    Extents fromGroup, toGroup;
    Extent fromProduct = ones(), toProduct = ones();
    auto take = [](const Extents &dims, size_t &at, Extents &group, Extent &product) {
      product = multiply(product, dims[at]);
      if (!isOne(dims[at]))
        group.push_back(dims[at]);
      ++at;
    };
    if (i < from.size() && isOne(from[i])) {
      ++i;
      continue;
    }
    if (j < to.size() && isOne(to[j])) {
      ++j;
      continue;
    }
    if (i == from.size() || j == to.size())
      return mixed();
    take(from, i, fromGroup, fromProduct);
    take(to, j, toGroup, toProduct);
    while (fromProduct != toProduct) {
      // Grow the side that is smaller; products are compared in the first run in which they differ.
      size_t run = 0;
      while (fromProduct[run] == toProduct[run])
        ++run;
      bool growFrom = fromProduct[run] < toProduct[run];
      if (growFrom ? i == from.size() : j == to.size())
        return mixed();
      growFrom ? take(from, i, fromGroup, fromProduct) : take(to, j, toGroup, toProduct);
    }
    if (!isCleanGroup(rolesOf(fromGroup), rolesOf(toGroup)))
      return mixed();
  }
  return base::Status::ok();
}

std::vector<int64_t> featurePermutation(const Layout &operand, const std::vector<int64_t> &perm) {
  std::vector<int64_t> result{0};
  for (int64_t dim : perm)
    if (operand.isFeature(dim) || operand.dim(dim).factor != 1)
      result.push_back(operand.axisOf(dim));
  return result;
}

} // namespace platen::compiler::serve
