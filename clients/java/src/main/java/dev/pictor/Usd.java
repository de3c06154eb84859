package dev.pictor;

import dev.pictor.v1.Money;
import java.math.BigDecimal;

/** US dollars, to and from the messages that carry them, exactly. */
public final class Usd {

    private static final int NANO_DIGITS = 9;

    private Usd() {}

    /**
     * An amount such as {@code 0.25}, for max_cost.
     *
     * @throws ArithmeticException finer than a billionth of a dollar
     */
    public static Money of(String amount) {
        BigDecimal[] parts = new BigDecimal(amount).divideAndRemainder(BigDecimal.ONE);
        return Money.newBuilder()
                .setCurrencyCode("USD")
                .setUnits(parts[0].longValueExact())
                .setNanos(parts[1].movePointRight(NANO_DIGITS).intValueExact())
                .build();
    }

    /** The amount as dollars, without zeros at its end. */
    public static BigDecimal of(Money amount) {
        return BigDecimal.valueOf(amount.getUnits())
                .add(BigDecimal.valueOf(amount.getNanos(), NANO_DIGITS))
                .stripTrailingZeros();
    }
}
